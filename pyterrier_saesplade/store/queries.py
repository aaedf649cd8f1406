"""Files of encoded queries, with which an index can be searched without the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import FINGERPRINT, Terms, as_texts, to_toks
from pyterrier_saesplade.store.write import describe
from pyterrier_saesplade.vectors import DESCRIPTION, from_arrow, to_arrow, vector_schema

if TYPE_CHECKING:
    import os

    from pyterrier_saesplade.protocols import ConceptModel


def encode_topics(
    model: ConceptModel, topics: pd.DataFrame, out: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Encodes topics into a Parquet file of ``qid``, ``query``, ``latents`` and float ``weights``.

    Args:
        model: The model.
        topics: A frame of ``qid`` and ``query``.
        out: The path of the file, which must end in ``.parquet``.
        overwrite: Whether to replace an existing file.

    Returns:
        The path of the file.

    Raises:
        PathExistsError: If the file exists and ``overwrite`` is false.
        SettingError: If the name of the file does not end in ``.parquet``.
        DataError: If a column is missing, or a qid is not a string or occurs twice.

    Examples:
        >>> encode_topics(model, topics, "queries.parquet")
        PosixPath('queries.parquet')
    """
    out = Path(out)
    if out.suffix != ".parquet":
        raise SettingError(f"a file of encoded queries must end in .parquet, not {out.name}")
    if missing := {"qid", "query"} - set(topics.columns):
        raise DataError(f"the topics have no column {' and no column '.join(map(repr, sorted(missing)))}")
    for qid, count in topics["qid"].value_counts(dropna=False).items():
        if not isinstance(qid, str) or count > 1:
            raise DataError(f"a qid must be a string and occur only once: {qid!r} occurs {count} times")
    require_new(out, overwrite=overwrite)
    queries = as_texts(topics["query"])
    vectors = model.encode(queries, "query", verbose=False)
    schema = vector_schema(["qid", "query"], pa.float32(), describe(model))
    with atomic_write(out) as partial, pq.ParquetWriter(partial, schema) as writer:
        writer.write_batch(to_arrow([topics["qid"].tolist(), queries], vectors, schema))
    return out


def read_queries(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads encoded queries.

    Args:
        path: A file written by :func:`encode_topics`.

    Returns:
        A frame of ``qid``, ``query`` and ``query_toks``, which the retriever of any index accepts. It records the
        fingerprint of the model, so that a search in an index of another model is an error.

    Raises:
        PathNotFoundError: If there is no such file.
        DataError: If it is not a file of encoded queries.

    Examples:
        >>> file = encode_topics(model, topics, "queries.parquet")
        >>> index.retriever(num_results=3)(read_queries(file)).columns.tolist()
        ['qid', 'query', 'query_toks', 'docno', 'score', 'rank']
    """
    path = Path(path)
    if not path.is_file():
        raise PathNotFoundError(f"there is no file of encoded queries at {path}: make one with saesplade encode")
    try:
        table = pq.read_table(path)
        description = json.loads(table.schema.metadata[DESCRIPTION])
        frame: pd.DataFrame = table.select(["qid", "query"]).to_pandas()
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a file of encoded queries: make one with saesplade encode --queries") from error
    toks = to_toks(from_arrow(table), Terms(description["width"], description["pieces"]))
    frame = frame.assign(query_toks=pd.Series(toks, index=frame.index, dtype=object))
    frame.attrs[FINGERPRINT] = description["fingerprint"]
    return frame
