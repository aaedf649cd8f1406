"""SAE-SPLADE or SPLADE, in an index of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyterrier as pt
from pydantic import PositiveInt

from pyterrier_saesplade.engines import ConceptIndex, find_engine, open_index
from pyterrier_saesplade.evaluation.efficiency import query_costs
from pyterrier_saesplade.evaluation.systems.base import Artifact, ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.stages import TextLoader, search
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors, encode_corpus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pyterrier_saesplade.factory import ModelFactory


class EncodedCorpus(Artifact):
    """The concept vectors of a corpus, which are encoded once for all indexes of the model.

    Args:
        model: The model.
    """

    name = "vectors"
    resumes = True

    def __init__(self, model: SaeSplade) -> None:
        self.model = model

    @property
    def identity(self) -> str:
        """The model's fingerprint, which covers weights and document-side settings."""
        return f"vectors {self.model.fingerprint}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Encodes the corpus into a store."""
        encode_corpus(self.model, artifacts.corpus.collection, path)


class ConceptSystem(IndexedSystem):
    """Concept vectors, or those of SPLADE, in an index of this package.

    Args:
        name: The name of the row.
        model: The model.
        engine: The name of the engine.

    Raises:
        SettingError: If there is no such engine.
    """

    def __init__(self, name: str, model: SaeSplade, engine: str = "terrier") -> None:
        self._quantization = find_engine(engine).default_quantization
        self.name = name
        self.model = model
        self.engine = engine
        self.vectors = EncodedCorpus(model)
        self.built_from = (self.vectors,)
        self.note = f"{name}: {model!r}, weighting {model.weighting}, in {engine.capitalize()}"

    @property
    def identity(self) -> str:
        """The model's fingerprint, and the defaults for building an index."""
        return f"{self.engine} {self.model.fingerprint}, {self._quantization}, weighting {self.model.weighting}"

    @property
    def settings(self) -> list[str]:
        """The identity, and the maximum length of queries, which is not part of a fingerprint."""
        return [*super().settings, query_length_of(self.model)]

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Indexes the vectors."""
        self.model.indexer(path, self.engine).index(StoredVectors(artifacts.path(self.vectors)))

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """Returns the query encoder, and the retriever, which weights latents and quantises queries itself."""
        return self.model.query_encoder(), search(
            open_index(artifacts.path(self)).retriever, ignore_identical_ids=ignore_identical_ids
        )

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Returns a pipeline that encodes the texts of results, and weights queries like the index."""
        statistics = artifacts.path(self) if self.model.weighting == "idf" else None
        pipeline: pt.Transformer = TextLoader(artifacts.corpus.passages()) >> self.model.scorer(statistics=statistics)
        return pipeline

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts the latents of the encoded queries and of the indexed documents."""
        return flops_of(self.model, open_index(artifacts.path(self)), queries)


def query_length_of(model: SaeSplade) -> str:
    """Returns the query length that was set on a model, as a setting of a system; ``None`` is the model's own."""
    return f"queries cut at {model.query_max_length}"


def flops_of(model: ModelFactory, index: ConceptIndex, queries: Sequence[str]) -> float:
    """Returns the QD-FLOPs of queries on an index of the same model."""
    return float(query_costs(model, index, pt.new.queries(list(queries)))["qd_flops"].mean())


_OPTIONS = {"k": PositiveInt, "doc_max_length": PositiveInt, "query_max_length": PositiveInt, "engine": str}


@system_kind(
    "saesplade",
    source="MODEL",
    options={"width": PositiveInt, **_OPTIONS},
    help="a SAE-SPLADE model; by default the compared model, with other options",
)
def _saesplade(given: Given) -> System:
    return _concepts(given, SaeSplade.from_pretrained)


@system_kind(
    "splade",
    source="CHECKPOINT",
    needs_source=True,
    options=_OPTIONS,
    help="a SPLADE checkpoint, encoded and indexed by this package",
)
def _splade(given: Given) -> System:
    return _concepts(given, SaeSplade.from_splade)


def _concepts(given: Given, open_source: Callable[..., SaeSplade]) -> System:
    settings = {name: value for name, value in given.options.items() if name != "engine"}
    return ConceptSystem(given.label, given.model(open_source, **settings), given.options.get("engine", "terrier"))
