"""Vectors as JSON lines: ``{"docno": "d1", "vector": {"c12": 34, "c305": 7}}`` or floats, one text per line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import numbered_lines
from pyterrier_saesplade.formats.source import Source
from pyterrier_saesplade.impacts import Terms, from_toks, to_toks
from pyterrier_saesplade.store import WINDOW_DOCUMENTS
from pyterrier_saesplade.vectors import ConceptVectors


def write_jsonl(source: Source, path: Path) -> None:
    """Writes a line per document; compressed if the file's name ends in ``.gz``.

    Floats have as many digits as it takes to read the same ``float32`` back.
    """
    with _create(path) as file:
        for docnos, vectors in source.batches():
            for docno, toks in zip(docnos, printed_toks(vectors, source.terms), strict=True):
                line = json.dumps({"docno": docno, "vector": toks}, ensure_ascii=False)
                file.write(line.encode() + b"\n")


def printed_toks(vectors: ConceptVectors, terms: Terms) -> list[dict[str, float]]:
    """Returns dictionaries like :func:`~pyterrier_saesplade.impacts.toks.to_toks`, with floats that print short."""
    if vectors.weights.dtype.kind != "f":
        return to_toks(vectors, terms)
    # 0.3 in float32 is 0.30000001192092896; its shortest decimal is read as the float64 that prints as 0.3.
    shortest = pa.array(vectors.weights).cast(pa.string()).cast(pa.float64()).to_numpy()
    return to_toks(replace(vectors, weights=shortest), terms)


def read_terms(path: Path) -> list[str]:
    """Returns the names of all latents in a file, sorted.

    Raises:
        ValueError: If a line is not as above; the message names it.
    """
    return sorted({name for _, _, toks in _records(path, "docno") for name in toks})


def read_windows(path: Path, terms: Terms) -> Iterator[tuple[list[str], ConceptVectors]]:
    """Yields the documents of a file, some thousand at a time.

    Args:
        path: The file; compressed if its name ends in ``.gz``.
        terms: The names of the latents.

    Raises:
        ValueError: If a line is not as above, or names no latent; the message names it.
    """
    records = _records(path, "docno")
    while window := list(islice(records, WINDOW_DOCUMENTS)):
        for where, _, toks in window:
            for name in toks:
                if terms.latent(name) is None:
                    raise DataError(f"{where}: {name!r} is not in the model's vocabulary")
        yield [docno for _, docno, _ in window], from_toks((toks for *_, toks in window), terms)


def read_queries(path: Path) -> pd.DataFrame:
    """Reads vectors of queries, ``{"qid": "q1", "vector": {"c12": 34}}`` per line.

    Returns:
        A frame of ``qid`` and ``query_toks``, floats, which every index's retriever takes.

    Raises:
        ValueError: If a line is not so, a qid stands twice, or there is no line.
    """
    queries: dict[str, dict[str, float]] = {}
    for where, qid, toks in _records(path, "qid"):
        if qid in queries:
            raise DataError(f"{where}: qid {qid!r} stands in this file twice")
        queries[qid] = {name: float(weight) for name, weight in toks.items()}
    if not queries:
        raise DataError(f"{path} has no queries")
    return pd.DataFrame({"qid": list(queries), "query_toks": list(queries.values())})


def _records(path: Path, key: str) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yields ``file:number``, identifier and vector of each line that is not empty; zeros are left out."""
    for where, line in numbered_lines(path):
        if line.strip():
            try:
                record = _parse(line, key)
            except ValueError as error:  # of JSON and UTF-8 too
                raise DataError(f"{where}: {error}") from error
            yield where, *record


def _parse(line: bytes, key: str) -> tuple[str, dict[str, float]]:
    record: Any = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get(key), str):
        raise DataError(f"expected a JSON object with a text {key!r} and a 'vector'")
    toks = record.get("vector")
    if not isinstance(toks, dict):
        raise DataError(f"{record[key]!r} has no vector, which must be an object of names and weights")
    weights = np.array(list(toks.values()) or [0.0])
    if weights.dtype.kind not in "iuf" or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(f"{record[key]!r} has weights that are no numbers of at least 0")
    return record[key], {name: weight for name, weight in toks.items() if weight > 0}


def _create(path: Path) -> IO[bytes]:
    if path.suffix != ".gz":
        return path.open("wb")
    # No time in it: equal vectors make equal files.
    return cast(IO[bytes], gzip.GzipFile(path, "wb", compresslevel=6, mtime=0))
