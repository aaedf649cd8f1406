"""Keep the strongest latents of a text."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.pipeline.quantizer import require_toks_column
from pyterrier_saesplade.pipeline.stage import Stage, require_positive


class Prune(Stage):
    """Keeps the ``k`` largest weights of each text and drops the rest; of equal ones, those that come first.

    On queries it bounds the time of a search, on documents the size of an index.

    Args:
        k: Pseudo-terms kept per text.
        column: ``"toks"`` for documents, ``"query_toks"`` for queries.

    Examples:
        >>> import pandas as pd
        >>> Prune(2)(pd.DataFrame([{"docno": "d1", "toks": {"c1": 0.5, "c2": 0.2, "c3": 1.5}}])).toks[0]
        {'c1': 0.5, 'c3': 1.5}
    """

    label: ClassVar[str] = "Prune"

    def __init__(self, k: int, *, column: str = "toks") -> None:
        require_positive(k=k)
        require_toks_column(column)
        self.k = k
        self.column = column

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with its column of weights pruned."""
        pt.validate.columns(inp, includes=[self.column])
        toks = [self._prune(weights or {}) for weights in inp[self.column]]
        return inp.assign(**{self.column: pd.Series(toks, index=inp.index, dtype=object)})

    def _prune(self, toks: Mapping[str, float]) -> dict[str, float]:
        kept = set(heapq.nlargest(self.k, toks, key=toks.__getitem__))
        return {term: weight for term, weight in toks.items() if term in kept}
