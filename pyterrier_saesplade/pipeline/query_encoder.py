"""Encodes queries as terms with weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.impacts import FINGERPRINT, Quantization, as_texts, to_toks
from pyterrier_saesplade.pipeline.stage import Stage, in_batches

if TYPE_CHECKING:
    from pyterrier_saesplade.protocols import ConceptModel


class QueryEncoder(Stage):
    """Adds the concept vectors of queries as ``query_toks``, to any frame with a ``query``, including results.

    A query that occurs in several rows is encoded once.

    Args:
        model: The model, usually a :class:`~pyterrier_saesplade.SaeSplade`.
        scale: Levels per unit of weight. By default weights are floats, because the retriever of an index multiplies
            them by idf before it quantises them. Integers are for engines that are searched without this package.
        k: Number of latents per token, to override the model's setting.
        batch_size: Number of queries that are encoded together.
        verbose: Whether to show progress.

    Raises:
        SettingError: If ``k``, ``batch_size`` or ``scale`` is not positive.

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
        for batch in in_batches(distinct, self.batch_size, verbose=self.verbose, desc="Encoding queries", unit="query"):
            vectors = self.model.encode(batch, "query", k=self.k, verbose=False)
            if self._quantization is not None:
                vectors = self._quantization.quantize(vectors)
            toks += to_toks(vectors, self.model.terms)
        of_query = dict(zip(distinct, toks, strict=True))
        out = inp.assign(query_toks=pd.Series([of_query[query] for query in queries], index=inp.index, dtype=object))
        if len(out):  # PyTerrier finds output columns with an empty frame, which must not load the model
            out.attrs[FINGERPRINT] = self.model.fingerprint
        return out
