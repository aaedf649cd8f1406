"""Vectors by latent in place of by text: posting lists on disk, made without holding them in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.vectors.sparse import ConceptVectors


class Postings(NamedTuple):
    """Which documents hold each latent: three arrays, each memory-mapped from a file of its name.

    Attributes:
        starts: ``[M + 1]``; the postings of latent ``i`` are ``documents[starts[i]:starts[i + 1]]``.
        documents: ``[nnz]``, numbers of documents, from 0, ascending within a latent.
        weights: ``[nnz]``, of the type that the vectors have.
    """

    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    weights: NDArray[Any]

    @classmethod
    def write(cls, folder: Path, windows: Iterable[ConceptVectors], df: NDArray[np.int64]) -> Postings:
        """Inverts vectors: they were counted, so each posting has its place.

        Args:
            folder: Where the files will be.
            windows: The vectors of all documents, some at a time.
            df: ``[M]``, in how many of the documents each latent is.

        Raises:
            ValueError: If there is no window.
        """
        starts = np.concatenate(([0], np.cumsum(df)))
        np.save(folder / "starts.npy", starts)
        documents = create_array(folder / "documents.npy", np.dtype(np.int32), int(starts[-1]))
        weights: NDArray[Any] | None = None
        free = starts[:-1].copy()
        seen = 0
        for vectors in windows:
            if weights is None:
                weights = create_array(folder / "weights.npy", vectors.weights.dtype, int(starts[-1]))
            order = np.argsort(vectors.latents, kind="stable")
            latents, counts = np.unique(vectors.latents, return_counts=True)
            places = np.repeat(free[latents] - np.cumsum(counts) + counts, counts) + np.arange(len(order))
            of_posting = seen + vectors.rows
            documents[places] = of_posting[order]
            weights[places] = vectors.weights[order]
            free[latents] += counts
            seen += len(vectors)
        if weights is None:
            raise DataError("there are no vectors to invert")
        return cls(starts, documents, weights)

    @classmethod
    def open(cls, folder: Path) -> Postings:
        """Opens what :meth:`write` wrote."""
        starts, documents, weights = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("starts", "documents", "weights")
        )
        return cls(np.asarray(starts), documents, weights)


def create_array(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """Creates a ``.npy`` file of zeros, as an array to be filled.

    Raises:
        OSError: If the disk has no room for it.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(length,))
    if hasattr(os, "posix_fallocate"):  # else a disk that fills up while the array is written kills the process
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
