"""Pipelines over a collection, by the names that the command line knows them by."""

from __future__ import annotations

import pkgutil
from functools import reduce
from hashlib import sha256
from operator import add
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyterrier as pt
import pyterrier_alpha as pta

from pyterrier_saesplade.evaluation.collections import Collection
from pyterrier_saesplade.evaluation.systems import SPLADE, Concepts, Corpus, Dense, System, Words
from pyterrier_saesplade.files import written_beside
from pyterrier_saesplade.pipeline import Standardise
from pyterrier_saesplade.pipeline.stage import Stage
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.training.data.sources import passages_of
from pyterrier_saesplade.training.data.tables import TextTable

_DENSE, _CROSS_ENCODER = "dense=", "cross-encoder="
_DENSE_LENGTH = 256


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
        self._corpus: Corpus | None = None

    def retriever(self, name: str, num_results: int) -> pt.Transformer:
        """Returns a pipeline from queries to results."""
        parts = [self._retriever(part) % num_results for part in name.split("+")]
        if len(parts) == 1:
            return parts[0]
        # Fusion takes two rows for one document if their queries differ, as BM25's does once it is tokenised.
        as_asked = [part >> pt.apply.generic(_without_rewriting) for part in parts]
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
        system = _system(name)
        encode, search = system.stages(self._index(system))
        pipeline: pt.Transformer = encode >> search
        return pipeline

    def _teacher(self, name: str) -> pt.Transformer:
        if ":" in name:
            return imported(name)
        if name.startswith(_CROSS_ENCODER):
            return self._with_texts(_cross_encoder(name.removeprefix(_CROSS_ENCODER)))
        system = _system(name)
        if isinstance(system, Words):
            # Given results, Terrier scores these.
            bm25: pt.Transformer = system.stages(self._index(system))[1]
            return bm25
        if isinstance(system, Dense):
            return system.scorer(self._index(system))
        assert isinstance(system, Concepts)
        statistics = self._index(system) if system.model.weighting == "idf" else None
        return self._with_texts(system.model.scorer(statistics=statistics))

    def _with_texts(self, scorer: pt.Transformer) -> pt.Transformer:
        pipeline: pt.Transformer = TextLoader(passages_of(self._collection)) >> scorer
        return pipeline

    def _index(self, system: System) -> Path:
        self._corpus = self._corpus or Corpus.read(self._collection)
        identity = sha256(f"{system.identity} {self._corpus.digest}".encode()).hexdigest()
        path = self._folder / f"{system.name}-{identity[:12]}.index"
        if not path.exists():
            with written_beside(path) as partial:
                system.build(self._corpus, partial)
        return path


class TextLoader(Stage):
    """Adds the ``text`` of each row's ``docno``, from a table on disk.

    Args:
        table: The texts by docno.
    """

    label: ClassVar[str] = "Texts"

    def __init__(self, table: TextTable) -> None:
        super().__init__()
        self.table = table

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``text``, empty for an unknown document."""
        pt.validate.columns(inp, includes=["docno"])
        rows = self.table.rows(inp["docno"].tolist())
        texts = self.table.texts(rows.clip(min=0)) if len(rows) else []
        found = ["" if row < 0 else text for row, text in zip(rows, texts, strict=True)]
        return inp.assign(text=pd.Series(found, index=inp.index, dtype=object))


def _without_rewriting(results: pd.DataFrame) -> pd.DataFrame:
    """Returns results with the queries as they were asked."""
    while "query_0" in results.columns:
        results = pt.model.pop_queries(results)
    return results


def _system(name: str) -> System:
    if name == "bm25":
        return Words()
    if name.startswith(_DENSE):
        return Dense(name.removeprefix(_DENSE), _DENSE_LENGTH)
    if name.startswith(SPLADE):
        return Concepts("splade", SaeSplade.from_splade(name.removeprefix(SPLADE)))
    return Concepts("saesplade", SaeSplade.from_pretrained(name))


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
