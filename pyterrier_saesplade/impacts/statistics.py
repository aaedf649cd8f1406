"""The document frequencies of latents in a collection, and their idf."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_saesplade.errors import DataError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from pyterrier_saesplade.vectors import ConceptVectors


class LatentStatistics:
    """Document frequencies of the latents of an indexed collection.

    Args:
        df: ``[M]``, the number of documents in which each latent is active; not copied.
        n_docs: The number of documents, N.
        dropped: The latents that are active in documents but left out of the index, ascending; their ``df`` is 0.

    Examples:
        >>> statistics = LatentStatistics.empty(width=3)
        >>> statistics.update(ConceptVectors.from_rows([([0, 2], [1.0, 1.0]), ([0], [1.0])]))
        >>> statistics.n_docs, statistics.df.tolist()
        (2, [2, 0, 1])
        >>> statistics.idf().round(2)
        array([0.18, 1.79, 0.69], dtype=float32)
    """

    def __init__(self, df: NDArray[np.int64], n_docs: int, dropped: NDArray[np.int64] | None = None) -> None:
        self.df = df
        self.n_docs = n_docs
        self.dropped = np.empty(0, np.int64) if dropped is None else dropped

    @classmethod
    def empty(cls, width: int) -> LatentStatistics:
        """Returns the statistics of an empty collection, for a vocabulary of ``width`` latents."""
        return cls(np.zeros(width, np.int64), 0)

    def __eq__(self, other: object) -> bool:
        """Compares the counts."""
        return (
            isinstance(other, LatentStatistics)
            and self.n_docs == other.n_docs
            and np.array_equal(self.df, other.df)
            and np.array_equal(self.dropped, other.dropped)
        )

    def __hash__(self) -> int:
        """Is consistent with ``==``, and does not change when documents are added."""
        return hash(len(self.df))

    def update(self, vectors: ConceptVectors) -> None:
        """Adds documents."""
        self.df += np.bincount(vectors.latents, minlength=len(self.df))
        self.n_docs += len(vectors)

    def drop_frequent(self, max_df: float) -> None:
        """Drops the latents that are active in more than a share ``max_df`` of the documents."""
        self.dropped = self.frequent(max_df)
        self.df[self.dropped] = 0

    def frequent(self, max_df: float) -> NDArray[np.int64]:
        """Returns the latents active in more than a share ``max_df`` of the documents, and those already dropped."""
        return np.union1d(np.flatnonzero(self.df / self.n_docs > max_df), self.dropped)

    def idf(self) -> NDArray[np.float32]:
        """Returns the idf of each latent, ``ln((N + 1) / (df + 0.5))``: ``[M]``, positive even if ``df`` is ``N``.

        The idf of a dropped latent is 0, so that it does not count in other indexes or in re-ranking either.
        """
        idf = idf_of(self.df, self.n_docs).astype(np.float32)
        idf[self.dropped] = 0.0
        return idf

    def weigh(self, queries: ConceptVectors) -> ConceptVectors:
        """Multiplies query weights by the :meth:`idf` of their latents, in float32, and drops zeros."""
        weighted = replace(queries, weights=queries.weights * self.idf()[queries.latents])
        return weighted.where(weighted.weights != 0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the counts to an ``.npz`` file."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, df=self.df, n_docs=np.int64(self.n_docs), dropped=self.dropped)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LatentStatistics:
        """Reads a file written by :meth:`save`.

        Raises:
            DataError: If the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                # Indexes built by earlier versions have no such array, because they never dropped latents.
                return cls(arrays["df"], int(arrays["n_docs"]), arrays.get("dropped"))
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged: {error}") from error


def idf_of(df: NDArray[np.int64], n_docs: int) -> NDArray[np.float64]:
    """Returns the inverse document frequency ``ln((N + 1) / (df + 0.5))``, which is positive even if ``df`` is ``N``.

    Examples:
        >>> idf_of(np.array([1, 10]), n_docs=10).round(2).tolist()
        [1.99, 0.05]
    """
    idf: NDArray[np.float64] = np.log((n_docs + 1) / (df + 0.5))
    return idf
