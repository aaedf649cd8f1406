"""Makes the scores of different systems comparable, so that they can be added."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.pipeline.stage import Stage


class Standardise(Stage):
    """Scales the scores of each query to mean 0 and standard deviation 1 (z-scores).

    The scores of different systems can then be added. If all scores of a query are equal, they become 0.

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
        """Returns ``inp`` with the new ``score`` and ``rank``."""
        pt.validate.result_frame(inp, extra_columns=["score"])
        if inp.empty:
            return pt.model.add_ranks(inp.assign(score=pd.Series(dtype=float)))
        of_query = inp.groupby("qid")["score"]
        deviation = of_query.transform("std").fillna(0.0)
        centred = inp["score"] - of_query.transform("mean")
        return pt.model.add_ranks(inp.assign(score=centred / deviation.where(deviation > 0, 1.0)))


class Normalise(Stage):
    """Scales the scores of each query to the range from 0 to 1 (min-max normalisation).

    The scores of different systems can then be added: a document that one system did not find counts like its last
    document. If all scores of a query are equal, they become 1. ``PerQueryMaxMinScore`` of ``pyterrier_alpha`` is not
    used, because it fails in release 0.16.5 and would set equal scores to 0.

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
        """Returns ``inp`` with the new ``score`` and ``rank``."""
        pt.validate.result_frame(inp, extra_columns=["score"])
        if inp.empty:
            return pt.model.add_ranks(inp.assign(score=pd.Series(dtype=float)))
        of_query = inp.groupby("qid")["score"]
        least, spread = of_query.transform("min"), of_query.transform("max") - of_query.transform("min")
        score = ((inp["score"] - least) / spread.where(spread > 0, 1.0)).where(spread > 0, 1.0)
        return pt.model.add_ranks(inp.assign(score=score))
