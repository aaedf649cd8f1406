"""JSON lines files of vectors, one text per line: ``{"docno": "d1", "vector": {"c12": 34, "c305": 7}}``.

Weights are integers or floats.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from more_itertools import chunked

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import numbered_lines
from pyterrier_saesplade.impacts import Terms, from_toks, to_toks
from pyterrier_saesplade.store import WINDOW_DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyterrier_saesplade.formats.source import Source
    from pyterrier_saesplade.vectors import ConceptVectors


def write_jsonl(source: Source, path: Path) -> None:
    """Writes one line per document, compressed if the name of the file ends in ``.gz``.

    Floats have as many digits as are needed to read the same ``float32`` back.
    """
    with _create(path) as file:
        for docnos, vectors in source.batches():
            for docno, toks in zip(docnos, printed_toks(vectors, source.terms), strict=True):
                line = json.dumps({"docno": docno, "vector": toks}, ensure_ascii=False)
                file.write(line.encode() + b"\n")


def printed_toks(vectors: ConceptVectors, terms: Terms) -> list[dict[str, float]]:
    """Returns dictionaries like :func:`~pyterrier_saesplade.impacts.toks.to_toks`, with floats that print briefly.

    Examples:
        >>> printed_toks(ConceptVectors.from_rows([([1], [0.3])]), Terms(2))
        [{'c1': 0.3}]
    """
    if vectors.weights.dtype.kind != "f":
        return to_toks(vectors, terms)
    # As a float64, the float32 0.3 is 0.30000001192092896. Going through its shortest decimal form gives 0.3.
    shortest = pa.array(vectors.weights).cast(pa.string()).cast(pa.float64()).to_numpy()
    return to_toks(replace(vectors, weights=shortest), terms)


def read_terms(path: Path) -> list[str]:
    """Returns the names of all latents in a file, sorted.

    Raises:
        DataError: If a line is malformed. The message gives its number.

    Examples:
        >>> _ = Path("docs.jsonl").write_text('{"docno": "d1", "vector": {"c2": 3, "c1": 7}}')
        >>> read_terms(Path("docs.jsonl"))
        ['c1', 'c2']
    """
    return sorted({name for _, _, toks in _records(path, "docno") for name in toks})


def read_batches(path: Path, terms: Terms) -> Iterator[tuple[list[str], ConceptVectors]]:
    """Yields the documents of a file in batches of a few thousand.

    Args:
        path: The file; compressed if its name ends in ``.gz``.
        terms: The names of the latents.

    Raises:
        DataError: If a line is malformed, or a name is not that of a latent. The message gives the number of the line.
    """
    for batch in chunked(_records(path, "docno"), WINDOW_DOCUMENTS):
        for where, _, toks in batch:
            for name in toks:
                if terms.latent(name) is None:
                    raise DataError(f"{where}: {name!r} is not in the model's vocabulary")
        yield [docno for _, docno, _ in batch], from_toks((toks for *_, toks in batch), terms)


def read_queries(path: Path) -> pd.DataFrame:
    """Reads query vectors, one ``{"qid": "q1", "vector": {"c12": 34}}`` per line.

    Returns:
        A frame with ``qid`` and float ``query_toks``, for the retriever of any index.

    Raises:
        DataError: If a line is malformed, a qid occurs twice, or there are no queries.

    Examples:
        >>> _ = Path("queries.jsonl").write_text('{"qid": "q1", "vector": {"c12": 34}}')
        >>> read_queries(Path("queries.jsonl"))
          qid     query_toks
        0  q1  {'c12': 34.0}
    """
    queries: dict[str, dict[str, float]] = {}
    for where, qid, toks in _records(path, "qid"):
        if qid in queries:
            raise DataError(f"{where}: the qid {qid!r} occurs twice in this file")
        queries[qid] = {name: float(weight) for name, weight in toks.items()}
    if not queries:
        raise DataError(f"{path} has no queries")
    return pd.DataFrame({"qid": list(queries), "query_toks": list(queries.values())})


def _records(path: Path, key: str) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yields ``file:number``, the identifier and the vector of each non-empty line, without zero weights."""
    for where, line in numbered_lines(path):
        if line.strip():
            try:
                record = _parse(line, key)
            except ValueError as error:  # includes errors of JSON and UTF-8
                raise DataError(f"{where}: {error}") from error
            yield where, *record


def _parse(line: bytes, key: str) -> tuple[str, dict[str, float]]:
    record: Any = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get(key), str):
        raise DataError(f"expected a JSON object with a string {key!r} and a 'vector'")
    toks = record.get("vector")
    if not isinstance(toks, dict):
        raise DataError(f"{record[key]!r} has no 'vector', an object of names and weights")
    weights = np.array(list(toks.values()) or [0.0])
    if weights.dtype.kind not in "iuf" or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(f"{record[key]!r} has weights that are not finite numbers of at least 0")
    return record[key], {name: weight for name, weight in toks.items() if weight > 0}


def _create(path: Path) -> IO[bytes]:
    if path.suffix != ".gz":
        return path.open("wb")
    # Without a timestamp, equal vectors give equal files.
    return cast("IO[bytes]", gzip.GzipFile(path, "wb", compresslevel=6, mtime=0))
