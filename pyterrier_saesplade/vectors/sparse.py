"""The concept vectors of many texts, as plain numpy arrays in CSR layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from pyterrier_saesplade.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ConceptVectors:
    """The concept vectors of ``n`` texts: the active latents of each text, in ascending order, and their weights.

    Nothing is stored densely. A text takes 8 bytes per active latent (12 with positions), however large the vocabulary
    is.

    Attributes:
        indptr: ``[n + 1]``; the latents of text ``i`` are ``latents[indptr[i]:indptr[i + 1]]``.
        latents: ``[nnz]``, ascending within a text, without repetition.
        weights: ``[nnz]``, positive; ``float32``, or ``int32`` after quantisation.
        positions: ``[nnz]``, the position (in word pieces, including markers) of the token that gave the weight;
            ``None`` unless requested.

    Examples:
        >>> import numpy as np
        >>> vectors = ConceptVectors.from_rows([([3, 7], [0.5, 2.0]), ([], []), ([7], [1.0])])
        >>> len(vectors)
        3
        >>> (vectors.to_csr(8) @ vectors.to_csr(8).T).toarray()[0]
        array([4.25, 0.  , 2.  ], dtype=float32)
        >>> vectors.hstack(vectors, 8).row(0)[0]
        array([ 3,  7, 11, 15], dtype=int32)
    """

    indptr: NDArray[np.int64]
    latents: NDArray[np.int32]
    weights: NDArray[Any]
    positions: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """Returns the number of texts."""
        return len(self.indptr) - 1

    @property
    def rows(self) -> NDArray[np.int64]:
        """The text of each entry: ``[nnz]``, ascending."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Returns the latents and the weights of text ``i``, as views."""
        span = slice(self.indptr[i], self.indptr[i + 1])
        return self.latents[span], self.weights[span]

    def take(self, order: NDArray[np.integer[Any]] | Sequence[int]) -> ConceptVectors:
        """Returns the texts at the indexes ``order``, in that order; an index may occur more than once."""
        order = np.asarray(order, dtype=np.int64)
        lengths = np.diff(self.indptr)[order]
        indptr = _indptr(lengths)
        # The source of each entry: the start of its row, plus its offset within the row.
        source = np.repeat(self.indptr[:-1][order] - indptr[:-1], lengths) + np.arange(indptr[-1])
        positions = None if self.positions is None else self.positions[source]
        return ConceptVectors(indptr, self.latents[source], self.weights[source], positions)

    def where(self, keep: NDArray[np.bool_]) -> ConceptVectors:
        """Returns the same texts with only the entries for which ``keep`` (``[nnz]``) is true."""
        indptr = np.concatenate(([0], np.cumsum(keep)))[self.indptr]
        positions = None if self.positions is None else self.positions[keep]
        return ConceptVectors(indptr, self.latents[keep], self.weights[keep], positions)

    def hstack(self, other: ConceptVectors, width: int) -> ConceptVectors:
        """Concatenates the vectors of the same texts over two vocabularies; positions are dropped.

        Args:
            other: Vectors of the same texts. Their latents are shifted by ``width``.
            width: The number of latents in the first vocabulary.

        Raises:
            DataError: If the two have different numbers of texts.
        """
        if len(self) != len(other):
            raise DataError(f"cannot combine the vectors of {len(self)} texts with those of {len(other)} texts")
        lengths, further = np.diff(self.indptr), np.diff(other.indptr)
        indptr = _indptr(lengths + further)
        first = np.repeat(indptr[:-1] - self.indptr[:-1], lengths) + np.arange(len(self.latents))
        second = np.repeat(indptr[1:] - other.indptr[1:], further) + np.arange(len(other.latents))
        latents = np.empty(indptr[-1], np.int32)
        latents[first], latents[second] = self.latents, other.latents + width
        weights = np.empty(indptr[-1], np.result_type(self.weights, other.weights))
        weights[first], weights[second] = self.weights, other.weights
        return ConceptVectors(indptr, latents, weights)

    def to_csr(self, width: int) -> sparse.csr_array:
        """Returns a scipy matrix of shape ``[n, width]`` that shares this object's memory."""
        return sparse.csr_array((self.weights, self.latents, self.indptr), shape=(len(self), width))

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[Any, Any]]) -> ConceptVectors:
        """Builds vectors from one pair per text: its latents, in ascending order, and their weights."""
        pairs = [(np.asarray(latents, np.int32), np.asarray(weights, np.float32)) for latents, weights in rows]
        return cls(
            _indptr(np.array([len(latents) for latents, _ in pairs], np.int64)),
            np.concatenate([latents for latents, _ in pairs] or [np.empty(0, np.int32)]),
            np.concatenate([weights for _, weights in pairs] or [np.empty(0, np.float32)]),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[ConceptVectors]) -> ConceptVectors:
        """Stacks the texts of ``parts``, in order; positions are kept if every part has them."""
        if not parts:
            return cls.from_rows([])
        if len(parts) == 1:
            return parts[0]
        positions = [part.positions for part in parts if part.positions is not None]
        return cls(
            _indptr(np.concatenate([np.diff(part.indptr) for part in parts])),
            np.concatenate([part.latents for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate(positions) if len(positions) == len(parts) else None,
        )


def _indptr(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))
