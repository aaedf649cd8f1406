"""Conversions that engines share: documents with ``toks`` for PyTerrier's plugins, and result frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pyterrier_saesplade.impacts import Terms, to_toks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyterrier as pt
    from numpy.typing import NDArray

    from pyterrier_saesplade.engines.spool import Spool


class Hits(NamedTuple):
    """The documents that a search found for one query, in descending order of score."""

    docnos: list[str]
    scores: NDArray[np.float64]


def toks_documents(spool: Spool, terms: Terms) -> Iterator[dict[str, Any]]:
    """Yields the documents in the form that PyTerrier's ``toks`` indexers accept."""
    for docnos, vectors in spool:
        for docno, toks in zip(docnos, to_toks(vectors, terms), strict=True):
            yield {"docno": docno, "toks": toks}


def result_frame(queries: pd.DataFrame, hits: Sequence[Hits]) -> pd.DataFrame:
    """Returns one row per query and document found: the columns of the query, ``docno``, ``score`` and ``rank``.

    String columns hold Python strings. Evaluation reads a run row by row, which takes twice as long with Arrow strings.

    Examples:
        >>> queries = pd.DataFrame([{"qid": "q1", "query": "young cat"}])
        >>> result_frame(queries, [Hits(["d4", "d3"], np.array([1.5, 0.5]))])
          qid      query docno  score  rank
        0  q1  young cat    d4    1.5     0
        1  q1  young cat    d3    0.5     1
    """
    strings = [name for name, dtype in queries.dtypes.items() if isinstance(dtype, pd.StringDtype)]
    places = np.repeat(np.arange(len(hits)), [len(found.docnos) for found in hits])
    rows = queries.astype(dict.fromkeys(strings, object)).iloc[places].reset_index(drop=True)
    return rows.assign(
        docno=pd.Series([docno for found in hits for docno in found.docnos], dtype=object),
        score=np.concatenate([found.scores for found in hits] or [np.empty(0)]),
        rank=np.concatenate([np.arange(len(found.docnos)) for found in hits] or [np.empty(0, np.int64)]),
    )


def search_toks(retriever: pt.Transformer, query_toks: Sequence[Mapping[str, float]]) -> list[Hits]:
    """Searches with a transformer that takes ``query_toks``. Empty queries, which engines reject, find nothing."""
    hits = [Hits([], np.empty(0))] * len(query_toks)
    searched = [query for query, toks in enumerate(query_toks) if toks]
    if searched:
        frame = pd.DataFrame(
            {"qid": [str(query) for query in searched], "query_toks": [query_toks[query] for query in searched]}
        )
        for qid, found in retriever.transform(frame).groupby("qid", sort=False):
            hits[int(str(qid))] = Hits(found["docno"].tolist(), found["score"].to_numpy(np.float64))
    return hits
