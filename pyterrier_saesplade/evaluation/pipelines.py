"""Pipelines over a collection, by the names that the command line knows them by."""

from __future__ import annotations

import pkgutil
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
import pyterrier_alpha as pta

from pyterrier_saesplade.collections import Collection, passages_of
from pyterrier_saesplade.evaluation.named import DENSE_LENGTH, open_model
from pyterrier_saesplade.evaluation.stages import AsAsked, TextLoader
from pyterrier_saesplade.evaluation.systems import Bm25, Concepts, Corpus, Dense, Indexes, System
from pyterrier_saesplade.pipeline import Standardise

_DENSE, _CROSS_ENCODER = "dense=", "cross-encoder="


class Pipelines:
    """Retrievers and re-rankers over one collection; the indexes that they need are built at their first use.

    A name is

    * ``bm25``: Terrier's BM25;
    * ``dense=NAME``: a bi-encoder of sentence-transformers, folder or hub name, through ``pyterrier_dr``;
    * ``cross-encoder=NAME``: a cross-encoder of sentence-transformers, which can only re-rank;
    * the folder or hub name of a SAE-SPLADE model, or ``splade=NAME`` for a SPLADE checkpoint;
    * ``module:attribute``: any pipeline of one's own, in a module that can be imported;
    * several of these with ``+`` between: their results, fused by reciprocal ranks; or the sum of their scores,
      standardised by query. Those of a bi-encoder are standardised in any case: cosines differ so little that a student
      would learn from them to tell nothing apart.

    Args:
        collection: The documents.
        folder: Where indexes are kept.
    """

    def __init__(self, collection: Collection, folder: Path) -> None:
        self._collection = collection
        self._folder = folder

    def retriever(self, name: str, num_results: int) -> pt.Transformer:
        """Returns a pipeline from queries to results."""
        parts = [self._retriever(part) % num_results for part in name.split("+")]
        if len(parts) == 1:
            return parts[0]
        # Fusion takes two rows for one document if their queries differ, as BM25's does once it is tokenised.
        as_asked = [part >> AsAsked() for part in parts]
        fused: pt.Transformer = pta.fusion.RRFusion(*as_asked, num_results=num_results)
        return fused

    def teacher(self, name: str) -> pt.Transformer:
        """Returns a pipeline that scores results again; it loads the texts that it needs."""
        parts = name.split("+")
        if len(parts) == 1 and not name.startswith(_DENSE):
            return self._teacher(name)
        teacher: pt.Transformer = reduce(add, [self._teacher(part) >> Standardise() for part in parts])
        return teacher

    def _retriever(self, name: str) -> pt.Transformer:
        if name.startswith(_CROSS_ENCODER):
            raise ValueError(f"{name} scores texts and finds none: name a retriever, such as bm25")
        if ":" in name:
            return imported(name)
        system = self._system(name)
        encode, search = system.stages(self._indexes)
        pipeline: pt.Transformer = encode >> search
        return pipeline

    def _teacher(self, name: str) -> pt.Transformer:
        if ":" in name:
            return imported(name)
        if name.startswith(_CROSS_ENCODER):
            return self._with_texts(_cross_encoder(name.removeprefix(_CROSS_ENCODER)))
        system = self._system(name)
        if isinstance(system, Bm25):
            # Given results, Terrier scores these.
            bm25: pt.Transformer = system.tokenise() >> system.bm25(self._indexes)
            return bm25
        if isinstance(system, Dense):
            return system.scorer(self._indexes)
        assert isinstance(system, Concepts)
        statistics = self._indexes.path(system) if system.model.weighting == "idf" else None
        return self._with_texts(system.model.scorer(statistics=statistics))

    def _with_texts(self, scorer: pt.Transformer) -> pt.Transformer:
        pipeline: pt.Transformer = TextLoader(passages_of(self._collection)) >> scorer
        return pipeline

    def _system(self, name: str) -> System:
        if name == "bm25":
            return Bm25(self._collection.language)
        if name.startswith(_DENSE):
            return Dense(name.removeprefix(_DENSE), DENSE_LENGTH)
        model = open_model(name)
        return Concepts("saesplade" if model.head == "sae" else "splade", model)

    @cached_property
    def _indexes(self) -> Indexes:
        return Indexes(Corpus.read(self._collection), self._folder)


def imported(name: str) -> pt.Transformer:
    """Returns the pipeline that ``module:attribute`` names.

    Raises:
        ValueError: If there is none.
    """
    try:
        pipeline: pt.Transformer = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name} cannot be imported: {error}") from error
    if not isinstance(pipeline, pt.Transformer):
        raise ValueError(f"{name} is no pipeline but a {type(pipeline).__name__}")
    return pipeline


def _cross_encoder(name: str) -> pt.Transformer:
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise ImportError("a cross-encoder needs sentence-transformers: pip install sentence-transformers") from error
    model = CrossEncoder(name)

    def score(frame: pd.DataFrame) -> Any:
        return model.predict(list(zip(frame["query"], frame["text"], strict=True)))

    return pt.apply.doc_score(score, batch_size=256)
