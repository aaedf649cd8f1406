"""Pseudo-relevance feedback: expands queries with concepts of the documents they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import FINGERPRINT, LatentStatistics, Quantization, to_toks
from pyterrier_saesplade.pipeline.vectors import VectorStage
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyterrier_saesplade.pipeline.stage import CollectionStatistics
    from pyterrier_saesplade.protocols import ConceptModel


class ConceptFeedback(VectorStage):
    """Turns results into expanded queries, with Rocchio's method in concept space.

    The vectors of the top documents of a query are averaged, and the ``concepts`` largest weights of the mean are kept.
    The mean is scaled to ``beta`` times the length of the query vector and added to the query vector. Vectors in the
    frame (``query_toks``, ``toks``) are used; missing ones are encoded from ``query`` and ``text``. With
    ``statistics``, lengths and weights are compared after multiplying by idf. The new queries themselves are not
    multiplied by idf, because the index that is searched next does that.

    Args:
        model: The model, usually a :class:`~pyterrier_saesplade.SaeSplade`.
        documents: Number of top documents per query that are assumed to be relevant.
        concepts: Maximum number of latents that the documents add.
        beta: Length of the added vector relative to the length of the query vector.
        statistics: The source of the idf values, usually the index that is searched: see
            :class:`~pyterrier_saesplade.Scorer`.
        text_field: The column of the document text.
        toks_scale: Levels per unit of weight of integer ``toks``, as in :class:`~pyterrier_saesplade.Scorer`.
        batch_size: Number of texts that are encoded together.
        verbose: Whether to show progress.

    Raises:
        ModelMismatchError: If another model encoded the queries.
        SettingError: If a number is out of range.

    Examples:
        >>> first = model.retriever(index, num_results=3) >> dataset.text_loader()
        >>> pipeline = first >> ConceptFeedback(model, documents=3, statistics=index) >> index.retriever()
        >>> pipeline.search("young cat").columns.tolist()
        ['qid', 'query', 'query_toks', 'docno', 'score', 'rank']

    References:
        Rocchio, Relevance Feedback in Information Retrieval, 1971.
    """

    label: ClassVar[str] = "Concept feedback"

    def __init__(
        self,
        model: ConceptModel,
        documents: int = 3,
        *,
        concepts: int = 32,
        beta: float = 0.3,
        statistics: CollectionStatistics | LatentStatistics | None = None,
        text_field: str = "text",
        toks_scale: float = Quantization.scale,
        batch_size: int = 1024,
        verbose: bool = False,
    ) -> None:
        super().__init__(model, statistics, text_field, toks_scale, batch_size, verbose)
        require_positive(documents=documents, concepts=concepts)
        if not 0 <= beta < np.inf:
            raise SettingError(f"beta must be a number of at least 0, not {beta!r}")
        self.documents = documents
        self.concepts = concepts
        self.beta = beta

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns one row per query: its columns, with new ``query_toks``."""
        self._validate(inp, "docno", "rank")
        of_queries = set(pt.model.query_columns(inp)) - {"query_toks"}
        columns = [column for column in inp.columns if column in of_queries]
        found = inp.sort_values(["qid", "rank"], kind="stable").groupby("qid", sort=False).head(self.documents)
        first = found.drop_duplicates("qid")
        out = first[columns].reset_index(drop=True)
        if inp.empty:
            return out.assign(query_toks=pd.Series(dtype=object))
        queries, query_of = self._queries(first)
        documents, document_of = self._documents(found)
        documents = self.model.as_query(documents)
        sizes = found.groupby("qid", sort=False).size().to_numpy()
        of_query = np.split(document_of, np.cumsum(sizes)[:-1])
        statistics = self._idf_statistics()
        idf = np.ones(len(self.model.terms), np.float32) if statistics is None else statistics.idf()
        rows = [
            self._expanded(queries.row(query), documents.take(rows), idf)
            for query, rows in zip(query_of.tolist(), of_query, strict=True)
        ]
        toks = to_toks(ConceptVectors.from_rows(rows), self.model.terms)
        out = out.assign(query_toks=pd.Series(toks, index=out.index, dtype=object))
        out.attrs[FINGERPRINT] = self.model.fingerprint
        return out

    def _expanded(
        self, query: tuple[NDArray[np.int32], NDArray[Any]], documents: ConceptVectors, idf: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        latents, weights = query
        added, of_entry = np.unique(documents.latents, return_inverse=True)
        mean = np.bincount(of_entry, documents.weights, minlength=len(added)) / len(documents)
        # The stable sort keeps the first latents among equal weights.
        largest = np.sort(np.argsort(-mean * idf[added], kind="stable")[: self.concepts])
        added, mean = added[largest], mean[largest]
        length = np.linalg.norm(mean * idf[added])
        factor = self.beta * np.linalg.norm(weights * idf[latents]) / length if length > 0 else 0.0
        both, of_entry = np.unique(np.concatenate([latents, added]), return_inverse=True)
        sums = np.bincount(of_entry, weights=np.concatenate([weights, factor * mean])).astype(np.float64)
        return both[sums > 0], sums[sums > 0]
