"""Exact search of vectors in memory, without an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.vectors.sparse import ConceptVectors

#: Queries whose scores of all documents are in memory together.
_QUERIES = 64


def best_first(scores: NDArray[Any], documents: NDArray[np.integer[Any]], depth: int) -> NDArray[np.intp]:
    """Returns the places of the best scores, in descending order; among equal scores, the first document comes first.

    Args:
        scores: ``[n]``.
        documents: ``[n]``, the number of each document.
        depth: The maximum number of places.

    Examples:
        >>> best_first(np.array([1.0, 3.0, 3.0]), np.array([7, 9, 8]), depth=2)
        array([2, 1])
    """
    candidates = np.arange(len(scores))
    if len(scores) > depth:
        # All that tie with the last place stay: the sort decides between them.
        candidates = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    return candidates[np.lexsort((documents[candidates], -scores[candidates]))[:depth]]


def top_documents(
    queries: ConceptVectors, documents: ConceptVectors, width: int, depth: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yields for each query its best documents and their scores.

    Args:
        queries: Their vectors.
        documents: Theirs.
        width: The number of latents, M.
        depth: Documents per query, at most; those that share no latent with it are none of them.

    Yields:
        The documents' numbers, by falling score, of equal ones the first first; and the scores.
    """
    by_latent = documents.to_csr(width).T.tocsr()
    matrix = queries.to_csr(width)
    for start in range(0, len(queries), _QUERIES):
        scores = matrix[start : start + _QUERIES] @ by_latent
        for first, last in zip(scores.indptr[:-1], scores.indptr[1:], strict=True):
            found, values = scores.indices[first:last], scores.data[first:last]
            order = best_first(values, found, depth)
            yield found[order].astype(np.int64), values[order]
