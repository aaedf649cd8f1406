"""Late interaction: ColBERT with its own index, and two rerankers of BM25's results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from pyterrier_saesplade.baselines import ColbertModel, LateInteraction, PlaidIndex
from pyterrier_saesplade.evaluation.systems.base import ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.reranker import Reranker
from pyterrier_saesplade.evaluation.systems.stages import NUM_RESULTS, TextLoader, search
from pyterrier_saesplade.model import check_encoder

if TYPE_CHECKING:
    from pathlib import Path

    import pyterrier as pt


class Colbert(IndexedSystem):
    """A ColBERT checkpoint that retrieves from its own PLAID index, to the full depth of a run.

    Args:
        checkpoint: Hub name or folder of a checkpoint that PyLate can read.
        doc_max_length: Number of word pieces kept per document; ``None`` for the checkpoint's.
        query_max_length: Number of word pieces kept per query; ``None`` for the checkpoint's.
        name: The name of the row.

    Raises:
        PathNotFoundError: If there is no such checkpoint.
        MissingPackageError: If PyLate is not installed.
        SettingError: If a length is not positive.
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
        """The model's fingerprint, which covers weights and document-side settings."""
        return f"plaid {self.model.fingerprint}"

    @property
    def settings(self) -> list[str]:
        """The identity, and the maximum length of queries."""
        return [*super().settings, f"queries cut at {self.model.query_max_length}"]

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Encodes, clusters and compresses the token embeddings of the corpus."""
        self.model.indexer(path).index(artifacts.corpus.documents())

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns the query encoder, and PLAID's retriever."""
        retrieve = search(PlaidIndex(artifacts.path(self)).retriever, ignore_identical_ids=ignore_identical_ids)
        return self.model.query_encoder(), retrieve

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that scores the texts of results by exact MaxSim."""
        pipeline: pt.Transformer = TextLoader(artifacts.corpus.passages()) >> self.model.scorer()
        return pipeline


class ColbertReranker(Reranker):
    """The first results of BM25, reranked by a ColBERT checkpoint.

    Args:
        checkpoint: Hub name or folder of a checkpoint that PyLate can read.
        depth: Number of results to rerank, which is the depth of the run.
        doc_max_length: Number of word pieces kept per document; ``None`` for the checkpoint's.
        query_max_length: Number of word pieces kept per query; ``None`` for the checkpoint's.
        language: The language of documents and queries, as two letters.
        name: The name of the row.

    Raises:
        PathNotFoundError: If there is no such checkpoint.
        MissingPackageError: If PyLate is not installed.
        SettingError: If ``depth`` or a length is not positive, or the language is not supported.
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
        super().__init__(depth, language, name)
        check_encoder(checkpoint)
        self.note = f"{self.name}: {self.model!r} over the first {depth} results of bm25"

    def text_scorer(self) -> pt.Transformer:
        """Returns a transformer that computes MaxSim with the checkpoint's token embeddings."""
        return self.model.scorer()


class LateInteractionSystem(Reranker):
    """The first results of BM25, reranked by late interaction over the token states of an encoder.

    Args:
        backbone: Hub name or folder of any encoder.
        depth: Number of results to rerank, which is the depth of the run.
        doc_max_length: Number of word pieces kept per document.
        query_max_length: Number of word pieces kept per query.
        language: The language of documents and queries, as two letters.
        name: The name of the row.

    Raises:
        PathNotFoundError: If there is no such encoder.
        SettingError: If ``depth`` or a length is not positive, or the language is not supported.
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
        super().__init__(depth, language, name)
        check_encoder(backbone)
        self._scorer = LateInteraction(backbone, doc_max_length=doc_max_length, query_max_length=query_max_length)
        self.note = (
            f"{self.name}: MaxSim of the last layer's states of {backbone}, neither projected nor trained for it, "
            f"documents cut at {doc_max_length} word pieces and queries at {query_max_length}, over the first {depth} "
            "results of bm25"
        )

    def text_scorer(self) -> pt.Transformer:
        """Returns a transformer that computes MaxSim with the backbone's token states."""
        return self._scorer


_LENGTHS = {"doc_max_length": PositiveInt, "query_max_length": PositiveInt}


@system_kind(
    "colbert", source="CHECKPOINT", needs_source=True, options=_LENGTHS, help="a ColBERT checkpoint with a PLAID index"
)
def _colbert(given: Given) -> System:
    return Colbert(str(given.source), name=given.label, **given.lengths | dict(given.options))


@system_kind(
    "colbert-rerank",
    source="CHECKPOINT",
    needs_source=True,
    options={"depth": PositiveInt, **_LENGTHS},
    help="the results of ``bm25``, reranked by a ColBERT checkpoint",
)
def _colbert_rerank(given: Given) -> System:
    options = given.lengths | dict(given.options)
    return ColbertReranker(str(given.source), name=given.label, language=given.language, **options)


@system_kind(
    "late-interaction",
    source="ENCODER",
    options={"depth": PositiveInt, **_LENGTHS},
    help="the first 100 results of ``bm25``, reranked by token states of an encoder; by default the model's backbone",
)
def _late_interaction(given: Given) -> System:
    own = {} if given.source else {"doc_max_length": given.backbone().doc_max_length}
    backbone = given.source or given.backbone().backbone
    options = own | given.lengths | dict(given.options)
    return LateInteractionSystem(backbone, language=given.language, name=given.label, **options)
