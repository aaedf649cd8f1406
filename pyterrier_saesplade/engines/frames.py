"""What engines share that PyTerrier plugins drive: documents with ``toks`` in, result frames out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.engines.index import Hits
from pyterrier_saesplade.engines.spool import Spool
from pyterrier_saesplade.impacts import Terms
from pyterrier_saesplade.impacts.toks import to_toks


def toks_documents(spool: Spool, terms: Terms) -> Iterator[dict[str, Any]]:
    """Yields the documents as PyTerrier's indexers of ``toks`` take them."""
    for docnos, vectors in spool:
        for docno, toks in zip(docnos, to_toks(vectors, terms), strict=True):
            yield {"docno": docno, "toks": toks}


def search_toks(retriever: pt.Transformer, query_toks: Sequence[Mapping[str, float]]) -> list[Hits]:
    """Searches with a transformer that takes ``query_toks``; empty queries, of which engines complain, find nothing."""
    hits = [Hits([], np.empty(0))] * len(query_toks)
    searched = [query for query, toks in enumerate(query_toks) if toks]
    if searched:
        frame = pd.DataFrame(
            {"qid": [str(query) for query in searched], "query_toks": [query_toks[query] for query in searched]}
        )
        for qid, found in retriever.transform(frame).groupby("qid", sort=False):
            hits[int(str(qid))] = Hits(found["docno"].tolist(), found["score"].to_numpy(np.float64))
    return hits
