"""SAE-SPLADE, or SPLADE, in an index of this package."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyterrier as pt
from pydantic import PositiveInt

from pyterrier_saesplade.engines import ConceptIndex, find_engine, open_index
from pyterrier_saesplade.evaluation.efficiency import query_costs
from pyterrier_saesplade.evaluation.systems.base import Artifact, ArtifactCache, IndexedSystem, System
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.stages import TextLoader, search
from pyterrier_saesplade.factory import ModelFactory
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors, encode_corpus

if TYPE_CHECKING:
    pass

_log = logging.getLogger(__name__)


class EncodedCorpus(Artifact):
    """The concept vectors of a corpus, so that several artifacts cost one encoding.

    Args:
        model: The model.
    """

    name = "vectors"
    resumes = True

    def __init__(self, model: SaeSplade) -> None:
        self.model = model

    @property
    def identity(self) -> str:
        """The model's fingerprint (weights, document-side settings)."""
        return f"vectors {self.model.fingerprint}"

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """Encodes the corpus into a store."""
        encode_corpus(self.model, artifacts.corpus.collection, path)


class ConceptSystem(IndexedSystem):
    """Concept vectors (or SPLADE's, which are the same with another head) in an index of this package.

    Args:
        name: What the line is called.
        model: The model.
        engine: The engine's name.
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
        """The model's fingerprint, and the defaults that an index is built with."""
        return f"{self.engine} {self.model.fingerprint}, {self._quantization}, weighting {self.model.weighting}"

    @property
    def settings(self) -> list[str]:
        """The length of queries too, which is not part of a fingerprint."""
        return [*super().settings, query_length_of(self.model)]

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        """ArtifactCache the vectors."""
        self.model.indexer(path, self.engine).index(StoredVectors(artifacts.path(self.vectors)))

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        """The query encoder, and the engine over pseudo-terms (latent weighting and quantisation are its part)."""
        return self.model.query_encoder(), search(
            open_index(artifacts.path(self)).retriever, ignore_identical_ids=ignore_identical_ids
        )

    def scorer(self, artifacts: ArtifactCache) -> pt.Transformer:
        """Encodes the texts of results, and weights queries as the index does."""
        statistics = artifacts.path(self) if self.model.weighting == "idf" else None
        pipeline: pt.Transformer = TextLoader(artifacts.corpus.passages()) >> self.model.scorer(statistics=statistics)
        return pipeline

    def qd_flops(self, artifacts: ArtifactCache, queries: Sequence[str]) -> float:
        """Counts latents of the queries as encoded, and of the documents as indexed."""
        return flops_of(self.model, open_index(artifacts.path(self)), queries)


def query_length_of(model: SaeSplade) -> str:
    """Returns where a model cuts queries, as settings say it; ``None`` is its own length."""
    return f"queries cut at {model.query_max_length}"


def flops_of(model: ModelFactory, index: ConceptIndex, queries: Sequence[str]) -> float:
    """Returns the QD-FLOPs of queries, as a model encodes them, on an index of its vectors."""
    return float(query_costs(model, index, pt.new.queries(list(queries)))["qd_flops"].mean())


_OPTIONS = {"k": PositiveInt, "doc_max_length": PositiveInt, "query_max_length": PositiveInt, "engine": str}


@system_kind(
    "saesplade",
    source="MODEL",
    options={"width": PositiveInt, **_OPTIONS},
    help="a SAE-SPLADE model; by default the compared one, with other options",
)
def _saesplade(given: Given) -> System:
    return _concepts(given, SaeSplade.from_pretrained)


@system_kind(
    "splade",
    source="CHECKPOINT",
    needs_source=True,
    options=_OPTIONS,
    help="a SPLADE checkpoint, by the encoder and the index of this package",
)
def _splade(given: Given) -> System:
    return _concepts(given, SaeSplade.from_splade)


def _concepts(given: Given, open_source: Callable[..., SaeSplade]) -> System:
    settings = {name: value for name, value in given.options.items() if name != "engine"}
    return ConceptSystem(given.label, given.model(open_source, **settings), given.options.get("engine", "terrier"))
