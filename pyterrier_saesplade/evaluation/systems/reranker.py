"""Systems that rerank the first results of BM25."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, System
from pyterrier_saesplade.evaluation.systems.stages import ResetQueries, TextLoader
from pyterrier_saesplade.evaluation.systems.words import Bm25

if TYPE_CHECKING:
    import pyterrier as pt


class Reranker(System):
    """Reranks the first results of BM25. The run has these results only.

    Args:
        depth: Number of results to rerank, which is the depth of the run.
        language: The language of documents and queries, as two letters.
        name: The name of the row.

    Raises:
        SettingError: If ``depth`` is not positive, or the language is not supported.
    """

    encodes_apart = False

    def __init__(self, depth: int, language: str, name: str) -> None:
        require_positive(depth=depth)
        self.name = name
        self.depth = depth
        self._words = Bm25(language)
        self.searched = (self._words,)

    @property
    def settings(self) -> list[str]:
        """The note, which names the model, and the settings of BM25; there is no index that identifies the model."""
        return [self.note, *super().settings]

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns an identity transformer, and a pipeline that reranks BM25's results for the original queries."""
        encode, retrieve = self._words.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
        return encode, retrieve % self.depth >> ResetQueries() >> self.scorer(artifacts)

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that loads the texts of results and scores them."""
        pipeline: pt.Transformer = TextLoader(artifacts.corpus.passages()) >> self.text_scorer()
        return pipeline

    @abstractmethod
    def text_scorer(self) -> pt.Transformer:
        """Returns a transformer that scores rows with ``query`` and ``text``."""
