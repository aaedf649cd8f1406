"""Systems that score the first results of BM25 again."""

from __future__ import annotations

from abc import abstractmethod

import pyterrier as pt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, System
from pyterrier_saesplade.evaluation.systems.stages import ResetQueries, TextLoader
from pyterrier_saesplade.evaluation.systems.words import Bm25


class Reranker(System):
    """Scores the first results of BM25 again; the run has these results and no others.

    Args:
        depth: The number of results that are scored again, which is the depth of the run.
        language: The language of documents and queries, two letters.
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
        """The note too: without an index the model is known only by its name."""
        return [self.note, *super().settings]

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """BM25 encodes nothing; its first results are scored for the query in its first form."""
        encode, retrieve = self._words.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
        return encode, retrieve % self.depth >> ResetQueries() >> self.scorer(artifacts)

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Loads the texts of results and scores them."""
        pipeline: pt.Transformer = TextLoader(artifacts.corpus.passages()) >> self.text_scorer()
        return pipeline

    @abstractmethod
    def text_scorer(self) -> pt.Transformer:
        """Returns what scores rows of ``query`` and ``text``."""
