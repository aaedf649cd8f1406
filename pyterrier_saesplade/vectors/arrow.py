"""Concept vectors as Arrow tables, with the columns of this package's Parquet files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pyterrier_saesplade.vectors.sparse import ConceptVectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: The metadata key under which a file describes its model, in JSON.
DESCRIPTION = b"saesplade"


def vector_schema(keys: Sequence[str], weights: pa.DataType, description: Mapping[str, Any] | None = None) -> pa.Schema:
    """Returns the schema of a table of concept vectors.

    Args:
        keys: Names of the string columns that identify a vector, such as ``docno``.
        weights: The data type of the weights.
        description: A description of the model, to be stored in the file's metadata.

    Examples:
        >>> vector_schema(["docno"], pa.float32()).names
        ['docno', 'latents', 'weights']
    """
    vectors = [pa.field("latents", pa.list_(pa.uint32())), pa.field("weights", pa.list_(weights))]
    metadata = None if description is None else {DESCRIPTION: json.dumps(description)}
    return pa.schema([*(pa.field(key, pa.string()) for key in keys), *vectors], metadata=metadata)


def to_arrow(texts: Sequence[Sequence[str | None]], vectors: ConceptVectors, schema: pa.Schema) -> pa.RecordBatch:
    """Returns a record batch with one row per text.

    Args:
        texts: The string columns, in the order of the schema.
        vectors: The vectors.
        schema: The schema, from :func:`vector_schema`.

    Examples:
        >>> vectors = ConceptVectors.from_rows([([3, 7], [0.5, 2.0])])
        >>> to_arrow([["d1"]], vectors, vector_schema(["docno"], pa.float32())).to_pylist()
        [{'docno': 'd1', 'latents': [3, 7], 'weights': [0.5, 2.0]}]
    """
    bounds = pa.array(vectors.indptr.astype(np.int32))
    weights = vectors.weights.astype(schema.field("weights").type.value_type.to_pandas_dtype(), copy=False)
    columns = [
        *(pa.array(column, pa.string()) for column in texts),
        pa.ListArray.from_arrays(bounds, pa.array(vectors.latents.view(np.uint32))),
        pa.ListArray.from_arrays(bounds, pa.array(weights)),
    ]
    return pa.record_batch(columns, schema=schema)


def from_arrow(table: pa.Table) -> ConceptVectors:
    """Returns the vectors in the rows of a table; 16-bit weights become ``float32``.

    Examples:
        >>> vectors = ConceptVectors.from_rows([([3], [0.5])])
        >>> batch = to_arrow([["d1"]], vectors, vector_schema(["docno"], pa.float32()))
        >>> from_arrow(pa.Table.from_batches([batch])).row(0)
        (array([3], dtype=int32), array([0.5], dtype=float32))
    """
    latents, weights = (table.column(name).combine_chunks() for name in ("latents", "weights"))
    values: NDArray[np.generic] = weights.flatten().to_numpy()
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    indptr = latents.offsets.to_numpy().astype(np.int64)
    return ConceptVectors(indptr - indptr[0], latents.flatten().to_numpy().view(np.int32), values)
