"""The exact engine: every dot product, in float64. The reference that other engines are tested against."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.engines.forward import create_array
from pyterrier_saesplade.engines.index import ConceptIndex, Hits
from pyterrier_saesplade.engines.spool import Spool
from pyterrier_saesplade.impacts import Quantization, Terms


class ExactConceptIndex(ConceptIndex):
    """Posting lists in three memory-mapped numpy arrays, searched one query at a time, term by term.

    It needs no Java, keeps float weights (or the integers of a :class:`~pyterrier_saesplade.impacts.Quantization`) and
    prunes nothing. A query takes memory of 8 bytes per document.
    """

    ARTIFACT_FORMAT: ClassVar[str] = "exact"
    default_quantization: ClassVar[Quantization | None] = None

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Inverts the documents in two passes, without holding them in memory: count (the spool did), then place."""
        starts = np.concatenate(([0], np.cumsum(spool.statistics.df)))
        np.save(folder / "starts.npy", starts)
        documents = create_array(folder / "documents.npy", np.dtype(np.int32), spool.n_postings)
        weights: NDArray[Any] | None = None
        free = starts[:-1].copy()
        docnos: list[str] = []
        for window, vectors in spool:
            if weights is None:
                weights = create_array(folder / "weights.npy", vectors.weights.dtype, spool.n_postings)
            order = np.argsort(vectors.latents, kind="stable")
            latents, counts = np.unique(vectors.latents, return_counts=True)
            places = np.repeat(free[latents] - np.cumsum(counts) + counts, counts) + np.arange(len(order))
            of_posting = len(docnos) + np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr))
            documents[places] = of_posting[order]
            weights[places] = vectors.weights[order]
            free[latents] += counts
            docnos += window
        (folder / "docnos.json").write_text(json.dumps(docnos), encoding="utf-8")

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Sums the postings of each query's latents; see :meth:`ConceptIndex.search`."""
        return [self._search(*queries.row(query), num_results) for query in range(len(queries))]

    def _search(self, latents: NDArray[np.int32], weights: NDArray[Any], num_results: int) -> Hits:
        starts, documents, stored = self._postings
        scores = np.zeros(len(self))
        for latent, weight in zip(latents.tolist(), weights.tolist(), strict=True):
            postings = slice(starts[latent], starts[latent + 1])
            scores[documents[postings]] += weight * stored[postings].astype(np.float64)
        found = np.flatnonzero(scores)
        if len(found) > num_results:
            # Documents that tie with the last place all stay until the sort below decides by their order.
            found = found[scores[found] >= -np.partition(-scores[found], num_results - 1)[num_results - 1]]
        found = found[np.lexsort((found, -scores[found]))][:num_results]
        return Hits([self._docnos[document] for document in found.tolist()], scores[found])

    @cached_property
    def _postings(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:
        starts, documents, weights = (
            np.load(self._folder / f"{name}.npy", mmap_mode="r") for name in ("starts", "documents", "weights")
        )
        return np.asarray(starts), documents, weights

    @cached_property
    def _docnos(self) -> list[str]:
        docnos: list[str] = json.loads((self._folder / "docnos.json").read_text(encoding="utf-8"))
        return docnos
