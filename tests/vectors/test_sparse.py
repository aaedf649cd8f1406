"""Concept vectors in CSR layout."""

import numpy as np

from pyterrier_saesplade.vectors import ConceptVectors

VECTORS = ConceptVectors.from_rows([([3, 7], [0.5, 2.0]), ([], []), ([0, 3, 9], [1.0, 4.0, 3.0])])


def test_take_reorders_and_repeats() -> None:
    taken = VECTORS.take([2, 0, 1, 2])
    assert taken.indptr.tolist() == [0, 3, 5, 5, 8]
    assert taken.latents.tolist() == [0, 3, 9, 3, 7, 0, 3, 9]
    assert taken.weights.tolist() == [1.0, 4.0, 3.0, 0.5, 2.0, 1.0, 4.0, 3.0]
    assert len(VECTORS.take([])) == 0


def test_concatenate() -> None:
    both = ConceptVectors.concatenate([VECTORS, VECTORS.take([1]), VECTORS])
    np.testing.assert_array_equal(both.to_csr(10).toarray()[[0, 2, 3, 4]], VECTORS.to_csr(10).toarray()[[0, 2, 1, 0]])
    assert len(ConceptVectors.concatenate([])) == 0


def test_where_keeps_the_texts() -> None:
    strong = VECTORS.where(VECTORS.weights > 1)
    assert strong.indptr.tolist() == [0, 1, 1, 3]
    assert strong.latents.tolist() == [7, 3, 9]
