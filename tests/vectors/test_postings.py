"""Posting lists on disk, against the vectors that they invert."""

from pathlib import Path

import numpy as np
import pytest

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.vectors import ConceptVectors, Postings

VECTORS = ConceptVectors.from_rows([([3, 7], [0.5, 2.0]), ([], []), ([0, 3, 9], [1.0, 4.0, 3.0]), ([3], [0.25])])


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_postings_are_the_columns_of_the_matrix(tmp_path: Path, chunk: int, dtype: type) -> None:
    vectors = ConceptVectors(VECTORS.indptr, VECTORS.latents, VECTORS.weights.astype(dtype))
    parts = (vectors.take(range(start, start + chunk)) for start in range(0, 4, chunk))
    written = Postings.write(tmp_path, parts, np.bincount(vectors.latents, minlength=10))
    columns = vectors.to_csr(10).tocsc()
    for postings in (written, Postings.open(tmp_path)):
        assert postings.starts.tolist() == columns.indptr.tolist()
        assert postings.documents.tolist() == columns.indices.tolist()
        assert postings.weights.tolist() == columns.data.tolist()
        assert postings.weights.dtype == dtype


def test_there_must_be_vectors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vectors"):
        Postings.write(tmp_path, [], np.zeros(10, np.int64))
