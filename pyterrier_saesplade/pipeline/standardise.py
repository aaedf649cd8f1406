"""Scores that can be added."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.pipeline.stage import Stage


class Standardise(Stage):
    """Gives the scores of each query a mean of 0 and a standard deviation of 1, so that those of systems can be added.

    Examples:
        >>> results = pd.DataFrame({"qid": "q1", "docno": ["d1", "d2", "d3"], "score": [1.0, 2.0, 3.0]})
        >>> Standardise()(results)["score"].tolist()
        [-1.0, 0.0, 1.0]
        >>> hybrid = (bm25 >> Standardise()) + (model.retriever(index) >> Standardise())
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


class Normalise(Stage):
    """Gives the scores of each query a least of 0 and a largest of 1, so that a document not found counts as the last.

    Examples:
        >>> results = pd.DataFrame({"qid": "q1", "docno": ["d1", "d2", "d3"], "score": [1.0, 2.0, 3.0]})
        >>> Normalise()(results)["score"].tolist()
        [0.0, 0.5, 1.0]
        >>> hybrid = (bm25 >> Normalise()) + (model.retriever(index) >> Normalise())
    """

    label: ClassVar[str] = "Normalise"

    def __init__(self) -> None:
        super().__init__()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with other scores; where all of a query's are equal, they become 1."""
        pt.validate.result_frame(inp, extra_columns=["score"])
        if inp.empty:
            return pt.model.add_ranks(inp.assign(score=pd.Series(dtype=float)))
        of_query = inp.groupby("qid")["score"]
        least, spread = of_query.transform("min"), of_query.transform("max") - of_query.transform("min")
        score = ((inp["score"] - least) / spread.where(spread > 0, 1.0)).where(spread > 0, 1.0)
        return pt.model.add_ranks(inp.assign(score=score))
