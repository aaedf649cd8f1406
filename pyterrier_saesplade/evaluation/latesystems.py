"""Late interaction in a comparison: ColBERT over its own index, and two ways to re-rank what BM25 found."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import pyterrier as pt

from pyterrier_saesplade.baselines.colbert import ColbertModel
from pyterrier_saesplade.baselines.late_interaction import LateInteraction
from pyterrier_saesplade.baselines.plaid import PlaidIndex
from pyterrier_saesplade.collections import passages_of
from pyterrier_saesplade.evaluation.stages import NUM_RESULTS, AsAsked, TextLoader, search
from pyterrier_saesplade.evaluation.systems import Bm25, Index, Indexes, System
from pyterrier_saesplade.model.backbone import check_encoder
from pyterrier_saesplade.pipeline.stage import require_positive


class Colbert(Index):
    """A ColBERT checkpoint, which retrieves from its own PLAID index, to the depth of every run.

    Args:
        checkpoint: Hub name or folder of a checkpoint that PyLate reads.
        doc_max_length: Word pieces kept per document; ``None``: as the checkpoint says.
        query_max_length: The same for queries.
        name: What the line is called.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ImportError: If PyLate is not installed.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        doc_max_length: int | None = None,
        query_max_length: int | None = None,
        name: str = "colbert",
    ) -> None:
        self.name = name
        self.model = ColbertModel(checkpoint, doc_max_length=doc_max_length, query_max_length=query_max_length)
        check_encoder(checkpoint)
        self.note = f"{self.name}: {self.model!r}, PyLate's PLAID index, approximate search"

    @property
    def identity(self) -> str:
        """The model's fingerprint: weights and document-side settings."""
        return f"plaid {self.model.fingerprint}"

    @property
    def settings(self) -> list[str]:
        """The length of queries too."""
        return [*super().settings, f"queries cut at {self.model.query_max_length}"]

    def build(self, indexes: Indexes, path: Path) -> None:
        """Encodes, clusters and compresses the token states of the corpus."""
        self.model.indexer(path).index(indexes.corpus.documents())

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and PLAID's search."""
        retrieve = search(PlaidIndex(indexes.path(self)).retriever, exclude_own=exclude_own)
        return self.model.query_encoder(), retrieve

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> None:
        """Token states have no inverted index of terms."""


class _Reranker(System):
    """Scores the first results of BM25 again; the run has these results and no others."""

    encodes_apart = False

    def __init__(self, source: str, depth: int, language: str, name: str) -> None:
        require_positive(depth=depth)
        check_encoder(source)
        self.name = name
        self.depth = depth
        self._words = Bm25(language)
        self.searched = (self._words,)

    @property
    def settings(self) -> list[str]:
        """The note too, for a model that has no index is known by its name alone."""
        return [self.note, *super().settings]

    def stages(self, indexes: Indexes, *, exclude_own: bool = False) -> tuple[pt.Transformer, pt.Transformer]:
        """Nothing to encode for BM25; its first results, their texts, and the scores of the query as it was asked."""
        encode, retrieve = self._words.stages(indexes, exclude_own=exclude_own)
        texts = TextLoader(passages_of(indexes.corpus.collection))
        return encode, retrieve % self.depth >> AsAsked() >> texts >> self._scorer()

    def qd_flops(self, indexes: Indexes, queries: Sequence[str]) -> None:
        """What re-ranking costs is not the multiplications of an inverted index."""

    @abstractmethod
    def _scorer(self) -> pt.Transformer:
        """Returns what scores queries with texts."""


class ColbertReranker(_Reranker):
    """BM25's first results, scored again by a ColBERT checkpoint.

    Args:
        checkpoint: Hub name or folder of a checkpoint that PyLate reads.
        depth: How many results of BM25 are scored again, which is the depth of the run.
        doc_max_length: Word pieces kept per document; ``None``: as the checkpoint says.
        query_max_length: The same for queries.
        language: That of documents and queries, two letters.
        name: What the line is called.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ImportError: If PyLate is not installed.
        ValueError: If ``depth`` or a length is not positive.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        depth: int = NUM_RESULTS,
        doc_max_length: int | None = None,
        query_max_length: int | None = None,
        language: str = "en",
        name: str = "colbert-rerank",
    ) -> None:
        self.model = ColbertModel(checkpoint, doc_max_length=doc_max_length, query_max_length=query_max_length)
        super().__init__(checkpoint, depth, language, name)
        self.note = f"{self.name}: {self.model!r} over the first {depth} results of bm25"

    def _scorer(self) -> pt.Transformer:
        return self.model.scorer()


class LateInteractionSystem(_Reranker):
    """BM25's first results, scored again by late interaction over an encoder's own token states.

    Args:
        backbone: Hub name or folder of any encoder.
        depth: How many results of BM25 are scored again, which is the depth of the run.
        doc_max_length: Word pieces kept per document.
        query_max_length: The same for queries.
        language: That of documents and queries, two letters.
        name: What the line is called.

    Raises:
        FileNotFoundError: If there is no such encoder.
        ValueError: If ``depth`` or a length is not positive.
    """

    def __init__(
        self,
        backbone: str,
        *,
        depth: int = 100,
        doc_max_length: int = 256,
        query_max_length: int = 32,
        language: str = "en",
        name: str = "late-interaction",
    ) -> None:
        super().__init__(backbone, depth, language, name)
        self.scorer = LateInteraction(backbone, doc_max_length=doc_max_length, query_max_length=query_max_length)
        self.note = (
            f"{self.name}: MaxSim of the last layer's states of {backbone}, neither projected nor trained for it, "
            f"documents cut at {doc_max_length} word pieces and queries at {query_max_length}, over the first {depth} "
            "results of bm25"
        )

    def _scorer(self) -> pt.Transformer:
        return self.scorer
