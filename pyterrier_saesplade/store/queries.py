"""Encoded queries in a file: what a search needs of a model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import FINGERPRINT, Terms, as_texts, to_toks
from pyterrier_saesplade.protocols import ConceptModel
from pyterrier_saesplade.store.write import describe
from pyterrier_saesplade.vectors import DESCRIPTION, from_arrow, to_arrow, vector_schema


def encode_topics(
    model: ConceptModel, topics: pd.DataFrame, out: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Encodes topics into a Parquet file of ``qid``, ``query``, ``latents`` and float ``weights``.

    Args:
        model: The model.
        topics: A frame of ``qid`` and ``query``.
        out: The file, which ends in ``.parquet``.
        overwrite: Replace an existing file.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: If the file exists and ``overwrite`` is false.
        ValueError: If the file's name does not end in ``.parquet``, a qid is no text or occurs twice, or a column is
            missing.

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
            raise DataError(f"a qid must be a text, and occur once, not {qid!r} ({count} times)")
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
        path: A file that :func:`encode_topics` wrote.

    Returns:
        A frame of ``qid``, ``query`` and ``query_toks``, which every index's retriever takes; it knows the model's
        fingerprint, so that queries of another model than the index's are an error.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of encoded queries.

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
        raise DataError(f"{path} is no file of encoded queries, as saesplade encode --queries writes it") from error
    toks = to_toks(from_arrow(table), Terms(description["width"], description["pieces"]))
    frame = frame.assign(query_toks=pd.Series(toks, index=frame.index, dtype=object))
    frame.attrs[FINGERPRINT] = description["fingerprint"]
    return frame
