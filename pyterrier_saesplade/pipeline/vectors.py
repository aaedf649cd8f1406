"""The base class of transformers that use the concept vectors of queries and documents."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive, require_same_model
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import (
    FINGERPRINT,
    LatentStatistics,
    are_impacts,
    as_texts,
    as_toks,
    from_float_toks,
    from_toks,
)
from pyterrier_saesplade.pipeline.stage import CollectionStatistics, Stage, in_batches
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from pyterrier_saesplade.protocols import ConceptModel
    from pyterrier_saesplade.types import Side


class VectorStage(Stage):
    """A stage that processes results. Vectors are read from the frame, or encoded from its texts.

    Args:
        model: The model, usually a :class:`~pyterrier_saesplade.SaeSplade`.
        statistics: The source of the idf values that query weights are multiplied by: an index, which weights queries
            only if its ``weighting`` is ``"idf"``, or latent statistics, which always do. ``None`` for no weighting.
        text_field: The column of the document text.
        toks_scale: Levels per unit of weight of integer ``toks``.
        batch_size: Number of texts that are encoded together.
        verbose: Whether to show progress.

    Raises:
        SettingError: If ``toks_scale`` or ``batch_size`` is not positive.
    """

    def __init__(
        self,
        model: ConceptModel,
        statistics: CollectionStatistics | LatentStatistics | None,
        text_field: str,
        toks_scale: float,
        batch_size: int,
        verbose: bool,
    ) -> None:
        require_positive(batch_size=batch_size)
        if not 0 < toks_scale < math.inf:
            raise SettingError(f"toks_scale must be a positive number, not {toks_scale!r}")
        self.model = model
        self.statistics = statistics
        self.text_field = text_field
        self.toks_scale = toks_scale
        self.batch_size = batch_size
        self.verbose = verbose

    def _validate(self, inp: pd.DataFrame, *further: str) -> None:
        with pt.validate.any(inp) as v:
            v.columns(includes=["qid", "query_toks", "toks", *further])
            v.columns(includes=["qid", "query", "toks", *further])
            v.columns(includes=["qid", "query_toks", self.text_field, *further])
            v.columns(includes=["qid", "query", self.text_field, *further])

    def _queries(self, inp: pd.DataFrame) -> tuple[ConceptVectors, NDArray[np.int64]]:
        """Returns the unweighted vectors of the distinct queries, and the position of the vector of each row."""
        if "query_toks" in inp.columns:
            self._check_encoded(inp)
            # After PyTerrier's joins, the rows of a query share one dictionary.
            distinct, rows = _distinct(as_toks(inp["query_toks"]), key=id)
            return from_float_toks(distinct, self.model.terms), rows
        distinct, rows = _distinct(as_texts(inp["query"]))
        return self._encode(distinct, "query"), rows

    def _check_encoded(self, inp: pd.DataFrame) -> None:
        require_same_model(
            "the queries",
            inp.attrs.get(FINGERPRINT, self.model.fingerprint),
            f"{self.model}, which scores,",
            self.model.fingerprint,
            "use the query encoder of the model that scores",
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
        scales = np.array([self.toks_scale if are_impacts(toks) else 1.0 for toks in distinct])
        return replace(vectors, weights=vectors.weights / scales[vectors.rows]), rows

    def _encode(self, texts: Sequence[str | None], side: Side) -> ConceptVectors:
        desc = "Encoding queries" if side == "query" else "Encoding documents"
        batches = in_batches(texts, self.batch_size, verbose=self.verbose, desc=desc, unit=side)
        return ConceptVectors.concatenate([self.model.encode(batch, side, verbose=False) for batch in batches])


def _distinct(
    values: Iterable[Any], key: Callable[[Any], Hashable] = lambda value: value
) -> tuple[list[Any], NDArray[np.int64]]:
    """Returns the distinct values in order of first occurrence, and the position of each value among them."""
    numbers: dict[Hashable, int] = {}
    distinct: list[Any] = []
    rows: list[int] = []
    for value in values:
        number = numbers.setdefault(key(value), len(distinct))
        if number == len(distinct):
            distinct.append(value)
        rows.append(number)
    return distinct, np.array(rows, np.int64)
