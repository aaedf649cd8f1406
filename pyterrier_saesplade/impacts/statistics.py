"""How often each latent occurs in a collection, and the idf that follows from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.encoding.vectors import ConceptVectors

#: What an index multiplies the weights of queries by.
Weighting = Literal["idf", "none"]


class LatentStatistics:
    """Document frequencies of the latents of an indexed collection.

    Args:
        df: ``[M]``, the number of documents in which each latent occurs; not copied.
        n_docs: The number of documents, N.

    Examples:
        >>> statistics = LatentStatistics.empty(width=3)
        >>> statistics.update(ConceptVectors.from_rows([([0, 2], [1.0, 1.0]), ([0], [1.0])]))
        >>> statistics.n_docs, statistics.df.tolist(), statistics.idf().round(2).tolist()
        (2, [2, 0, 1], [0.18, 1.79, 0.69])
    """

    def __init__(self, df: NDArray[np.int64], n_docs: int) -> None:
        self.df = df
        self.n_docs = n_docs

    @classmethod
    def empty(cls, width: int) -> LatentStatistics:
        """Returns the statistics of no document, for a vocabulary of ``width`` latents."""
        return cls(np.zeros(width, np.int64), 0)

    def update(self, vectors: ConceptVectors) -> None:
        """Counts further documents."""
        self.df += np.bincount(vectors.latents, minlength=len(self.df))
        self.n_docs += len(vectors)

    def idf(self) -> NDArray[np.float32]:
        """Returns ``ln((N + 1) / (df + 0.5))`` of each latent: ``[M]``, positive even if it is in every document."""
        return np.log((self.n_docs + 1) / (self.df + 0.5)).astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the counts to an ``.npz`` file."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, df=self.df, n_docs=np.int64(self.n_docs))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LatentStatistics:
        """Reads what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["df"], int(arrays["n_docs"]))
