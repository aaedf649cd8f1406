"""Concept vectors as Arrow tables."""

import json

import numpy as np
import pyarrow as pa
import pytest

from pyterrier_saesplade.vectors import DESCRIPTION, ConceptVectors, from_arrow, to_arrow, vector_schema

VECTORS = ConceptVectors.from_rows([([3, 7], [0.5, 2.0]), ([], []), ([0, 3, 9], [1.0, 4.0, 3.0])])


@pytest.mark.parametrize("weights", [pa.float32(), pa.float16()])
def test_vectors_come_back(weights: pa.DataType) -> None:
    """Also from a slice of a table in several chunks. Weights of 16 bits become float32."""
    schema = vector_schema(["docno", "text"], weights, {"model": "m"})
    batch = to_arrow([["d1", "d2", "d3"], ["a", None, "c"]], VECTORS, schema)
    assert batch.schema.names == ["docno", "text", "latents", "weights"]
    assert json.loads(batch.schema.metadata[DESCRIPTION]) == {"model": "m"}
    table = pa.Table.from_batches([batch, batch])
    for rows, expected in ((table, [0, 1, 2, 0, 1, 2]), (table.slice(2, 3), [2, 0, 1])):
        found = from_arrow(rows)
        assert found.weights.dtype == np.float32
        np.testing.assert_array_equal(found.to_csr(10).toarray(), VECTORS.take(expected).to_csr(10).toarray())
        assert found.indptr.tolist() == VECTORS.take(expected).indptr.tolist()
