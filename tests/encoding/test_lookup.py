"""Vectors of texts as sums of the vectors of their word pieces."""

import numpy as np

from pyterrier_saesplade.encoding import EncodedTokens, look_up
from pyterrier_saesplade.encoding.lookup import mean_vectors
from pyterrier_saesplade.impacts import Pruning
from pyterrier_saesplade.vectors import ConceptVectors


def encoded(pieces: list[int], rows: list[tuple[list[int], list[float]]]) -> EncodedTokens:
    return EncodedTokens(
        np.array(pieces, np.int64), np.empty((len(pieces), 1), np.float32), ConceptVectors.from_rows(rows)
    )


def test_a_word_piece_has_the_mean_of_its_occurrences_and_keeps_the_strongest() -> None:
    texts = [
        encoded([1, 3], [([0, 4], [2.0, 1.0]), ([2], [5.0])]),
        encoded([1], [([4], [5.0])]),
        encoded([], []),
        encoded([1, 1], [([], []), ([0, 1], [2.0, 0.5])]),
    ]
    table = Pruning(k=2).prune(mean_vectors(iter(texts), pieces=5, width=6))
    assert len(table) == 5
    assert [(row[0].tolist(), row[1].tolist()) for row in map(table.row, range(5))] == [
        ([], []),
        ([0, 4], [1.0, 1.5]),
        ([], []),
        ([2], [5.0]),
        ([], []),
    ]


def test_looked_up_vectors_sum_to_the_dense_result() -> None:
    generator = np.random.default_rng(0)
    dense = generator.random((20, 12)).astype(np.float32) * (generator.random((20, 12)) < 0.3)
    table = ConceptVectors.from_rows([(np.flatnonzero(row), row[np.flatnonzero(row)]) for row in dense])
    texts = [[], [3, 3, 7], [], *(generator.integers(0, 20, 9).tolist() for _ in range(4)), []]
    found = look_up(table, texts)
    expected = np.stack([dense[text].sum(0) for text in texts])
    np.testing.assert_allclose(found.to_csr(12).toarray(), expected, rtol=1e-5)
    assert all((np.diff(found.row(i)[0]) > 0).all() for i in range(len(found)))
    assert len(look_up(table, [])) == 0
