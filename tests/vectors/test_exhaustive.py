"""Exact search in memory, against the dense scores."""

import numpy as np
import pytest

from pyterrier_saesplade.vectors import ConceptVectors, top_documents


@pytest.mark.parametrize("depth", [1, 3, 10, 100])
def test_the_best_documents_of_every_query(depth: int) -> None:
    """Ties are in the order of the documents. Documents without a shared latent are left out."""
    random = np.random.default_rng(0)
    documents, queries = (
        ConceptVectors.from_rows(
            (np.sort(random.choice(20, size, replace=False)), random.integers(1, 3, size))
            for size in random.integers(0, 6, number)
        )
        for number in (60, 150)
    )
    scores = (queries.to_csr(20) @ documents.to_csr(20).T).toarray()
    found = list(top_documents(queries, documents, 20, depth))
    assert len(found) == 150
    for row, (numbers, values) in zip(scores, found, strict=True):
        order = np.lexsort((np.arange(60), -row))
        expected = order[row[order] > 0][:depth]
        assert numbers.tolist() == expected.tolist()
        assert values.tolist() == row[expected].tolist()
