"""Re-ranking by concept vectors, without an index."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pyterrier as pt
from numpy.typing import NDArray

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.impacts import LatentStatistics, Quantization
from pyterrier_saesplade.impacts.toks import FINGERPRINT, are_impacts, as_texts, as_toks, from_float_toks, from_toks
from pyterrier_saesplade.pipeline.stage import CollectionStatistics, ConceptModel, Stage, require_positive, windows


class Scorer(Stage):
    """Scores each row by the dot product of its query's and its document's concept vectors, and ranks again.

    Vectors that the frame brings (``query_toks``, ``toks``) are used, the others are encoded from ``query`` and
    ``text``, each distinct text once. With ``statistics`` scores are those of that index's retriever, up to its
    quantisation and its pruning of documents.

    Args:
        model: The model, usually a :class:`~pyterrier_saesplade.SaeSplade`.
        statistics: Whose latent idf multiplies the queries: an index, which may say that its queries are not weighted
            (``index.weighting``), or bare statistics, which always weight. ``None``: no weighting.
        text_field: The column that holds the documents' text.
        toks_scale: Levels per unit of weight of ``toks`` that are integers, as :class:`DocEncoder` makes them: scores
            are divided by it. Float ``toks`` are taken as they are.
        batch_size: Texts that are encoded together.
        verbose: Whether to show progress.

    Raises:
        AlreadyQuantizedError: When a query's weights are integers, whose scale is unknown.
        ValueError: When another model encoded the queries; if ``toks_scale`` or ``batch_size`` is not positive.

    Examples:
        >>> pipeline = bm25 >> dataset.text_loader() >> model.scorer(statistics=index)  # doctest: +SKIP
    """

    label: ClassVar[str] = "Concept scorer"

    def __init__(
        self,
        model: ConceptModel,
        *,
        statistics: CollectionStatistics | LatentStatistics | None = None,
        text_field: str = "text",
        toks_scale: float = Quantization.scale,
        batch_size: int = 1024,
        verbose: bool = False,
    ) -> None:
        require_positive(batch_size=batch_size)
        if not 0 < toks_scale < math.inf:
            raise ValueError(f"toks_scale must be a positive number, not {toks_scale!r}")
        self.model = model
        self.statistics = statistics
        self.text_field = text_field
        self.toks_scale = toks_scale
        self.batch_size = batch_size
        self.verbose = verbose

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with new ``score`` and ``rank``."""
        with pt.validate.any(inp) as v:
            v.columns(includes=["qid", "query_toks", "toks"])
            v.columns(includes=["qid", "query", "toks"])
            v.columns(includes=["qid", "query_toks", self.text_field])
            v.columns(includes=["qid", "query", self.text_field])
        if inp.empty:
            return pt.model.add_ranks(inp.assign(score=pd.Series(dtype=float)))
        queries, query_of = self._queries(inp)
        documents, document_of = self._documents(inp)
        return pt.model.add_ranks(inp.assign(score=_dot_products(queries, query_of, documents, document_of)))

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns none: an index given as ``statistics`` is not a part of the pipeline."""
        return {}

    def _queries(self, inp: pd.DataFrame) -> tuple[ConceptVectors, NDArray[np.int64]]:
        if "query_toks" in inp.columns:
            self._check_encoded(inp)
            # Rows of one query share one dictionary, as PyTerrier's joins leave them.
            distinct, rows = _distinct(as_toks(inp["query_toks"]), key=id)
            vectors = from_float_toks(distinct, self.model.terms)
        else:
            distinct, rows = _distinct(as_texts(inp["query"]))
            vectors = self._encode(distinct, "query")
        statistics = self._idf_statistics()
        return (vectors if statistics is None else statistics.weigh(vectors)), rows

    def _check_encoded(self, inp: pd.DataFrame) -> None:
        fingerprint = inp.attrs.get(FINGERPRINT)
        if fingerprint is not None and fingerprint != self.model.fingerprint:
            raise ValueError(
                f"the queries were encoded by another model (fingerprint {fingerprint[:8]}…) than the one that scores, "
                f"{self.model} (fingerprint {self.model.fingerprint[:8]}…): use the query encoder of that model"
            )

    def _idf_statistics(self) -> LatentStatistics | None:
        if self.statistics is None or isinstance(self.statistics, LatentStatistics):
            return self.statistics
        return self.statistics.statistics if self.statistics.weighting == "idf" else None

    def _documents(self, inp: pd.DataFrame) -> tuple[ConceptVectors, NDArray[np.int64]]:
        if "toks" not in inp.columns:
            distinct, rows = _distinct(as_texts(inp[self.text_field]))
            return self._encode(distinct, "doc"), rows
        distinct, rows = _distinct(as_toks(inp["toks"]), key=id)
        vectors = from_toks(distinct, self.model.terms)
        unit = np.array([self.toks_scale if are_impacts(toks) else 1.0 for toks in distinct])
        return replace(vectors, weights=vectors.weights / np.repeat(unit, np.diff(vectors.indptr))), rows

    def _encode(self, texts: Sequence[str | None], side: Literal["doc", "query"]) -> ConceptVectors:
        desc = "Encoding queries" if side == "query" else "Encoding documents"
        parts = windows(texts, self.batch_size, verbose=self.verbose, desc=desc, unit=side)
        return ConceptVectors.concatenate([self.model.encode(part, side, verbose=False) for part in parts])


def _distinct(
    values: Iterable[Any], key: Callable[[Any], Hashable] = lambda value: value
) -> tuple[list[Any], NDArray[np.int64]]:
    """Returns the distinct values in the order in which they come, and for each value the number of its like there."""
    numbers: dict[Hashable, int] = {}
    distinct: list[Any] = []
    rows: list[int] = []
    for value in values:
        number = numbers.setdefault(key(value), len(distinct))
        if number == len(distinct):
            distinct.append(value)
        rows.append(number)
    return distinct, np.array(rows, np.int64)


def _dot_products(
    queries: ConceptVectors, query_of: NDArray[np.int64], documents: ConceptVectors, document_of: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns for each row the dot product of its query's and its document's vector, summed in float64."""
    width = 1 + max(queries.latents.max(initial=0), documents.latents.max(initial=0))
    scores = np.zeros(len(query_of))
    weights = np.zeros(width)
    order = np.argsort(query_of, kind="stable")
    present, counts = np.unique(query_of, return_counts=True)
    for query, rows in zip(present, np.split(order, np.cumsum(counts)[:-1]), strict=True):
        latents, values = queries.row(query)
        weights[latents] = values
        vectors = documents.take(document_of[rows])
        of_entry = np.repeat(np.arange(len(rows)), np.diff(vectors.indptr))
        scores[rows] = np.bincount(of_entry, weights[vectors.latents] * vectors.weights, minlength=len(rows))
        weights[latents] = 0.0
    return scores
