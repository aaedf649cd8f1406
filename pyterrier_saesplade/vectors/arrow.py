"""Concept vectors as Arrow tables: the columns that Parquet files of this package have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pyterrier_saesplade.vectors.sparse import ConceptVectors

#: Under this key a file's metadata describe the model, in JSON.
DESCRIPTION = b"saesplade"


def vector_schema(keys: Sequence[str], weights: pa.DataType, description: Mapping[str, Any] | None = None) -> pa.Schema:
    """Returns the columns of a table of concept vectors.

    Args:
        keys: Columns of text that say whose vector it is, such as ``docno``.
        weights: The type of a weight.
        description: Of the model; kept in the file's metadata.
    """
    vectors = [pa.field("latents", pa.list_(pa.uint32())), pa.field("weights", pa.list_(weights))]
    metadata = None if description is None else {DESCRIPTION: json.dumps(description)}
    return pa.schema([*(pa.field(key, pa.string()) for key in keys), *vectors], metadata=metadata)


def to_arrow(texts: Sequence[Sequence[str | None]], vectors: ConceptVectors, schema: pa.Schema) -> pa.RecordBatch:
    """Returns a batch of ``schema``: one row per text.

    Args:
        texts: The columns of text, in the schema's order.
        vectors: The vectors.
        schema: As :func:`vector_schema` makes it.
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
    """Returns the vectors of a table's rows; 16-bit weights become ``float32``."""
    latents, weights = (table.column(name).combine_chunks() for name in ("latents", "weights"))
    values: NDArray[np.generic] = weights.flatten().to_numpy()
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    indptr = latents.offsets.to_numpy().astype(np.int64)
    return ConceptVectors(indptr - indptr[0], latents.flatten().to_numpy().view(np.int32), values)
