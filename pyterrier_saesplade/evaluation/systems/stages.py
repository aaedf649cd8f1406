"""Transformers that several systems use."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.pipeline import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyterrier_saesplade.collections import TextTable

#: The depth of every run.
NUM_RESULTS = 1000


def search(
    retriever: Callable[[int], pt.Transformer], num_results: int = NUM_RESULTS, *, ignore_identical_ids: bool = False
) -> pt.Transformer:
    """Returns a retriever, which on request drops the document with the same identifier as the query.

    Args:
        retriever: A function that makes a retriever, given the number of results.
        num_results: Maximum number of documents per query.
        ignore_identical_ids: Whether to drop the document whose docno is the query's qid.
    """
    if not ignore_identical_ids:
        return retriever(num_results)
    pipeline: pt.Transformer = retriever(num_results + 1) >> DropIdenticalIds(num_results)
    return pipeline


class DropIdenticalIds(Stage):
    """Drops the document whose docno is the query's qid, and then any results beyond the depth of a run.

    Args:
        num_results: Maximum number of documents per query.
    """

    label: ClassVar[str] = "Drop identical ids"

    def __init__(self, num_results: int) -> None:
        super().__init__()
        self.num_results = num_results

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns the remaining results, with new ranks."""
        pt.validate.result_frame(inp, extra_columns=["rank"])
        others = inp[inp["docno"] != inp["qid"]]
        rank = others.sort_values("rank", kind="stable").groupby("qid", sort=False).cumcount()
        ranked = others.assign(rank=rank.reindex(others.index))
        return ranked[ranked["rank"] < self.num_results].reset_index(drop=True)


class ResetQueries(Stage):
    """Restores the original queries, from before any rewriting."""

    label: ClassVar[str] = "Reset queries"

    def __init__(self) -> None:
        super().__init__()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with its original queries."""
        while "query_0" in inp.columns:
            inp = pt.model.pop_queries(inp)
        return inp


class RankResults(Stage):
    """Adds ranks to results that have none, such as the results of a union or of a custom reranker."""

    label: ClassVar[str] = "Rank"

    def __init__(self) -> None:
        super().__init__()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``rank``."""
        pt.validate.result_frame(inp, extra_columns=["score"])
        return inp if "rank" in inp.columns else pt.model.add_ranks(inp)


class RewriteQueries(Stage):
    """Rewrites the queries of results. Queries that the rewriter drops stay as they are.

    Args:
        rewriter: A pipeline from queries to queries.
    """

    label: ClassVar[str] = "Rewrite queries"

    def __init__(self, rewriter: pt.Transformer) -> None:
        super().__init__()
        self.rewriter = rewriter

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with the new queries, and the old ones as ``query_0``."""
        pt.validate.columns(inp, includes=["qid", "query"])
        rewritten = self.rewriter.transform(inp[["qid", "query"]].drop_duplicates("qid"))
        query = inp["qid"].map(rewritten.drop_duplicates("qid").set_index("qid")["query"]).fillna(inp["query"])
        return pt.model.push_queries(inp).assign(query=query)


class TextLoader(Stage):
    """Adds the text of each document, from a table on disk.

    Args:
        table: The texts by docno.
    """

    label: ClassVar[str] = "Texts"

    def __init__(self, table: TextTable) -> None:
        super().__init__()
        self.table = table

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``text``, which is empty for an unknown docno."""
        pt.validate.columns(inp, includes=["docno"])
        rows = self.table.rows(inp["docno"].tolist())
        texts = self.table.texts(rows.clip(min=0)) if len(rows) else []
        found = ["" if row < 0 else text for row, text in zip(rows, texts, strict=True)]
        return inp.assign(text=pd.Series(found, index=inp.index, dtype=object))
