"""Posting lists on disk: the inversion of concept vectors, built without holding them in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyterrier_saesplade.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from pyterrier_saesplade.vectors.sparse import ConceptVectors


class Postings(NamedTuple):
    """The documents in which each latent is active: three arrays, each memory-mapped from a file of the same name.

    Attributes:
        starts: ``[M + 1]``; the postings of latent ``i`` are ``documents[starts[i]:starts[i + 1]]``.
        documents: ``[nnz]``, the numbers of documents, from 0, ascending within a latent.
        weights: ``[nnz]``, in the data type of the vectors.

    Examples:
        >>> vectors = ConceptVectors.from_rows([([0, 2], [1.0, 2.0]), ([2], [3.0])])
        >>> postings = Postings.write(Path("."), [vectors], df=np.array([1, 0, 2]))
        >>> postings.documents[postings.starts[2] : postings.starts[3]].tolist()
        [0, 1]
    """

    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    weights: NDArray[Any]

    @classmethod
    def write(cls, folder: Path, batches: Iterable[ConceptVectors], df: NDArray[np.int64]) -> Postings:
        """Inverts vectors and writes them. The document frequencies determine the position of each posting in advance.

        Args:
            folder: The folder to write the files to.
            batches: The vectors of all documents, in batches.
            df: ``[M]``, the number of documents in which each latent is active.

        Raises:
            DataError: If there are no batches.
            OSError: If the disk is full.
        """
        starts = np.concatenate(([0], np.cumsum(df)))
        np.save(folder / "starts.npy", starts)
        documents = create_array(folder / "documents.npy", np.dtype(np.int32), int(starts[-1]))
        weights: NDArray[Any] | None = None
        free = starts[:-1].copy()
        seen = 0
        for vectors in batches:
            if weights is None:
                weights = create_array(folder / "weights.npy", vectors.weights.dtype, int(starts[-1]))
            order = np.argsort(vectors.latents, kind="stable")
            latents, counts = np.unique(vectors.latents, return_counts=True)
            places = np.repeat(free[latents] - np.cumsum(counts) + counts, counts) + np.arange(len(order))
            documents[places] = seen + vectors.rows[order]
            weights[places] = vectors.weights[order]
            free[latents] += counts
            seen += len(vectors)
        if weights is None:
            raise DataError("there are no vectors to invert")
        return cls(starts, documents, weights)

    @classmethod
    def open(cls, folder: Path) -> Postings:
        """Opens a folder written by :meth:`write`."""
        starts, documents, weights = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("starts", "documents", "weights")
        )
        return cls(np.asarray(starts), documents, weights)


def create_array(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """Creates a memory-mapped ``.npy`` file of zeros.

    Raises:
        OSError: If the disk is full.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(length,))
    if hasattr(os, "posix_fallocate"):  # without it, a disk that fills up while the array is written kills the process
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
