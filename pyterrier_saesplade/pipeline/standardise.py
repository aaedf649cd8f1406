"""Scores that can be added."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.pipeline.stage import Stage


class Standardise(Stage):
    """Gives the scores of each query a mean of 0 and a standard deviation of 1, so that those of systems can be added.

    Examples:
        >>> hybrid = (bm25 >> Standardise()) + (model.retriever(index) >> Standardise())  # doctest: +SKIP
    """

    label: ClassVar[str] = "Standardise"

    def __init__(self) -> None:
        super().__init__()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with other scores, and ranked again; where all of a query's are equal, they become 0."""
        pt.validate.result_frame(inp, extra_columns=["score"])
        if inp.empty:
            return pt.model.add_ranks(inp.assign(score=pd.Series(dtype=float)))
        of_query = inp.groupby("qid")["score"]
        deviation = of_query.transform("std").fillna(0.0)
        centred = inp["score"] - of_query.transform("mean")
        return pt.model.add_ranks(inp.assign(score=centred / deviation.where(deviation > 0, 1.0)))
