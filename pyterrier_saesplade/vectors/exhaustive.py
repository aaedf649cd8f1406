"""Exact search over vectors in memory, without an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyterrier_saesplade.vectors.sparse import ConceptVectors

#: The number of queries scored against all documents at a time.
_QUERIES = 64


def best_first(scores: NDArray[Any], documents: NDArray[np.integer[Any]], depth: int) -> NDArray[np.intp]:
    """Returns the positions of the best scores, in descending order; ties are broken by document number.

    Args:
        scores: ``[n]``.
        documents: ``[n]``, the number of each document.
        depth: The maximum number of positions.

    Examples:
        >>> best_first(np.array([1.0, 3.0, 3.0]), np.array([7, 9, 8]), depth=2)
        array([2, 1])
    """
    candidates = np.arange(len(scores))
    if len(scores) > depth:
        # Scores that tie with the last one are all kept, so that the sort below decides between them.
        candidates = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    return candidates[np.lexsort((documents[candidates], -scores[candidates]))[:depth]]


def top_documents(
    queries: ConceptVectors, documents: ConceptVectors, width: int, depth: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Finds the best documents of each query.

    Args:
        queries: The vectors of the queries.
        documents: The vectors of the documents.
        width: The number of latents, M.
        depth: The maximum number of documents per query. Documents that share no latent with it are not returned.

    Yields:
        The numbers of the documents, in descending order of score, and their scores. Ties are broken by number.

    Examples:
        >>> documents = ConceptVectors.from_rows([([0], [1.0]), ([0, 2], [2.0, 1.0]), ([1], [1.0])])
        >>> numbers, scores = next(top_documents(documents.take([0]), documents, width=3, depth=10))
        >>> numbers.tolist(), scores.tolist()
        ([1, 0], [2.0, 1.0])
    """
    by_latent = documents.to_csr(width).T.tocsr()
    matrix = queries.to_csr(width)
    for start in range(0, len(queries), _QUERIES):
        scores = matrix[start : start + _QUERIES] @ by_latent
        for first, last in zip(scores.indptr[:-1], scores.indptr[1:], strict=True):
            found, values = scores.indices[first:last], scores.data[first:last]
            order = best_first(values, found, depth)
            yield found[order].astype(np.int64), values[order]
