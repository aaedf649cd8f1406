"""Re-ranks results by concept vectors, without an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.impacts import LatentStatistics, Quantization
from pyterrier_saesplade.pipeline.vectors import VectorStage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyterrier_saesplade.pipeline.stage import CollectionStatistics
    from pyterrier_saesplade.protocols import ConceptModel
    from pyterrier_saesplade.vectors import ConceptVectors


class Scorer(VectorStage):
    """Scores each row by the dot product of the concept vectors of its query and document, and ranks again.

    Vectors in the frame (``query_toks``, ``toks``) are used. Missing ones are encoded from ``query`` and ``text``, each
    distinct text once. With an index as ``statistics``, scores equal those of the index's retriever, except for the
    quantisation and pruning of the index.

    Args:
        model: The model, usually a :class:`~pyterrier_saesplade.SaeSplade`.
        statistics: The source of the idf values that query weights are multiplied by: an index, which weights queries
            only if its ``weighting`` is ``"idf"``, or latent statistics, which always do. ``None`` for no weighting.
        text_field: The column of the document text.
        toks_scale: Levels per unit of weight of integer ``toks``, such as those of :class:`DocEncoder`. Scores are
            divided by it. Float ``toks`` are used as they are.
        batch_size: Number of texts that are encoded together.
        verbose: Whether to show progress.

    Raises:
        AlreadyQuantizedError: If query weights are integers, because their scale is unknown.
        ModelMismatchError: If another model encoded the queries.
        SettingError: If ``toks_scale`` or ``batch_size`` is not positive.

    Examples:
        >>> pipeline = bm25 >> dataset.text_loader() >> Scorer(model, statistics=index)
        >>> sorted(pipeline.search("river bank")["docno"])
        ['d1', 'd10', 'd2', 'd8']
    """

    label: ClassVar[str] = "Concept scorer"

    def __init__(
        self,
        model: ConceptModel,
        *,
        statistics: CollectionStatistics | LatentStatistics | None = None,
        text_field: str = "text",
        toks_scale: float = Quantization.scale,
        batch_size: int = 1024,
        verbose: bool = False,
    ) -> None:
        super().__init__(model, statistics, text_field, toks_scale, batch_size, verbose)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with new ``score`` and ``rank``."""
        self._validate(inp)
        if inp.empty:
            return pt.model.add_ranks(inp.assign(score=pd.Series(dtype=float)))
        queries, query_of = self._queries(inp)
        statistics = self._idf_statistics()
        queries = queries if statistics is None else statistics.weigh(queries)
        documents, document_of = self._documents(inp)
        return pt.model.add_ranks(inp.assign(score=_dot_products(queries, query_of, documents, document_of)))


def _dot_products(
    queries: ConceptVectors, query_of: NDArray[np.int64], documents: ConceptVectors, document_of: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the dot product of the query and document vectors of each row, summed in float64."""
    width = 1 + max(queries.latents.max(initial=0), documents.latents.max(initial=0))
    scores = np.zeros(len(query_of))
    weights = np.zeros(width)
    order = np.argsort(query_of, kind="stable")
    present, counts = np.unique(query_of, return_counts=True)
    for query, rows in zip(present, np.split(order, np.cumsum(counts)[:-1]), strict=True):
        latents, values = queries.row(query)
        weights[latents] = values
        vectors = documents.take(document_of[rows])
        scores[rows] = np.bincount(vectors.rows, weights[vectors.latents] * vectors.weights, minlength=len(rows))
        weights[latents] = 0.0
    return scores
