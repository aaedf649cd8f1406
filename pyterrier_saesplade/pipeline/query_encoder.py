"""Queries to pseudo-terms."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.impacts import FINGERPRINT, Quantization, as_texts, to_toks
from pyterrier_saesplade.pipeline.stage import Stage, windows
from pyterrier_saesplade.protocols import ConceptModel


class QueryEncoder(Stage):
    """Adds the concept vectors of queries as ``query_toks``; takes any frame with a ``query``, results included.

    A query text that occurs in several rows is encoded once.

    Args:
        model: The model, usually a :class:`~pyterrier_saesplade.SaeSplade`.
        scale: Levels per unit of weight. By default weights are floats: an index's retriever multiplies them by latent
            idf before it quantises them. Integers are for engines that are searched without this package.
        k: Latents kept per token, in place of the model's.
        batch_size: Queries that are encoded together.
        verbose: Whether to show progress.

    Examples:
        >>> QueryEncoder(model).search("young cat").columns.tolist()
        ['qid', 'query', 'query_toks']
    """

    label: ClassVar[str] = "Concepts of queries"

    def __init__(
        self,
        model: ConceptModel,
        *,
        scale: float | None = None,
        k: int | None = None,
        batch_size: int = 1024,
        verbose: bool = False,
    ) -> None:
        require_positive(k=k, batch_size=batch_size)
        self.model = model
        self.scale = scale
        self.k = k
        self.batch_size = batch_size
        self.verbose = verbose
        self._quantization = None if scale is None else Quantization(scale)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``query_toks``."""
        with pt.validate.any(inp) as v:
            v.query_frame(extra_columns=["query"])
            v.columns(includes=["query"])
        queries = as_texts(inp["query"])
        distinct = list(dict.fromkeys(queries))
        toks: list[dict[str, float]] = []
        for window in windows(distinct, self.batch_size, verbose=self.verbose, desc="Encoding queries", unit="query"):
            vectors = self.model.encode(window, "query", k=self.k, verbose=False)
            if self._quantization is not None:
                vectors = self._quantization.quantize(vectors)
            toks += to_toks(vectors, self.model.terms)
        of_query = dict(zip(distinct, toks, strict=True))
        out = inp.assign(query_toks=pd.Series([of_query[query] for query in queries], index=inp.index, dtype=object))
        if len(out):  # an empty frame, which tells the columns, must not load a model
            out.attrs[FINGERPRINT] = self.model.fingerprint
        return out
