"""The vectors of the documents in indexing order, with which approximate engines rescore candidates."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_saesplade.engines.frames import Hits
from pyterrier_saesplade.vectors import best_first, create_array

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pyterrier_saesplade.engines.spool import Spool

_SUBFOLDER = "forward"


class ForwardIndex:
    """Docnos and stored vectors of documents by position, in arrays on disk.

    A query reads only the parts of the arrays that belong to its candidates.

    Args:
        folder: The folder of the index. :meth:`write` puts the arrays into its subfolder ``forward``.
        width: Number of latents, M.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._folder = folder / _SUBFOLDER
        self._width = width

    @staticmethod
    def write(folder: Path, spool: Spool) -> None:
        """Copies the documents batch by batch, without holding all of them in memory."""
        folder = folder / _SUBFOLDER
        folder.mkdir()
        n_docs = spool.statistics.n_docs
        indptr = create_array(folder / "indptr.npy", np.dtype(np.int64), n_docs + 1)
        latents = create_array(folder / "latents.npy", np.dtype(np.int32), spool.n_postings)
        weights: NDArray[Any] | None = None
        docno_starts = create_array(folder / "docno_starts.npy", np.dtype(np.int64), n_docs + 1)
        documents = 0
        with (folder / "docnos.utf8").open("wb") as file:
            for docnos, vectors in spool:
                if weights is None:
                    weights = create_array(folder / "weights.npy", vectors.weights.dtype, spool.n_postings)
                encoded = [docno.encode() for docno in docnos]
                file.writelines(encoded)
                rows = slice(documents + 1, documents + len(vectors) + 1)
                docno_starts[rows] = docno_starts[documents] + np.cumsum([len(docno) for docno in encoded])
                indptr[rows] = indptr[documents] + vectors.indptr[1:]
                postings = slice(indptr[documents], indptr[documents + len(vectors)])
                latents[postings] = vectors.latents
                weights[postings] = vectors.weights
                documents += len(vectors)

    def scores(
        self, latents: NDArray[np.int32], weights: NDArray[Any], positions: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Returns the dot products of a query with documents.

        Products are summed in ascending order of the latents, as in the exact engine, so that all bits are equal.

        Args:
            latents: The latents of the query.
            weights: The weights of these latents.
            positions: ``[n]``, the positions of the documents.

        Returns:
            ``[n]``, in units of the stored weights.
        """
        if not len(positions):
            return np.empty(0)
        indptr, all_latents, all_weights = self._vectors
        starts, ends = indptr[positions], indptr[positions + 1]
        of_documents = np.concatenate(
            [all_latents[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        )
        query = np.zeros(self._width)
        query[latents] = weights
        # Most latents of the documents are not in the query; their weights are not read.
        shared = np.flatnonzero((query > 0)[of_documents])
        bounds = np.cumsum(ends - starts)
        document = np.searchsorted(bounds, shared, side="right")
        stored = all_weights[shared + (ends - bounds)[document]]
        products = query[of_documents[shared]] * stored
        return np.bincount(document, products, len(positions)).astype(np.float64, copy=False)

    def best(
        self, latents: NDArray[np.int32], weights: NDArray[Any], positions: NDArray[np.int64], num_results: int
    ) -> Hits:
        """Ranks documents by their dot products with a query, and ties by position.

        Args:
            latents: The latents of the query.
            weights: The weights of these latents.
            positions: Distinct positions of the candidates.
            num_results: Maximum number of documents to return.

        Returns:
            The best of the candidates that share a latent with the query.
        """
        scores = self.scores(latents, weights, positions)
        order = best_first(scores, positions, min(num_results, int(np.count_nonzero(scores))))
        return Hits(self.docnos(positions[order]), scores[order])

    def docnos(self, positions: NDArray[np.int64]) -> list[str]:
        """Returns the docnos of the documents at these positions."""
        starts, text = self._docnos
        spans = zip(starts[positions].tolist(), starts[positions + 1].tolist(), strict=True)
        return [str(text[start:end], "utf-8") for start, end in spans]

    @cached_property
    def _vectors(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:
        return self._array("indptr"), self._array("latents"), self._array("weights")

    @cached_property
    def _docnos(self) -> tuple[NDArray[np.int64], memoryview]:
        return self._array("docno_starts"), np.memmap(self._folder / "docnos.utf8", np.uint8, "r").data

    def _array(self, name: str) -> NDArray[Any]:
        return np.asarray(np.load(self._folder / f"{name}.npy", mmap_mode="r"))
