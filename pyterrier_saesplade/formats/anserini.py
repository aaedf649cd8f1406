"""Exports the vectors of a store to files that Pyserini's own commands index and search."""

from __future__ import annotations

import json
import logging
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_saesplade.checks import require_positive, require_same_model
from pyterrier_saesplade.engines import Description, require_whole_terms, write_metadata
from pyterrier_saesplade.errors import PathExistsError
from pyterrier_saesplade.files import read_metadata, replacing, require_new
from pyterrier_saesplade.impacts import FINGERPRINT, LatentStatistics, Quantization, as_texts, from_toks, to_toks
from pyterrier_saesplade.store import StoredVectors, read_queries

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import pandas as pd

VECTORS_TYPE, VECTORS_FORMAT = "concept_vectors", "anserini"

_log = logging.getLogger(__name__)

#: Stands for a query without terms, because Pyserini rejects topic files with empty queries.
NOTHING = "_"


def export_vectors(
    store: StoredVectors,
    out: str | os.PathLike[str],
    *,
    queries: str | os.PathLike[str] | None = None,
    quantization: Quantization | None = None,
    shards: int = 16,
    overwrite: bool = False,
) -> Path:
    """Writes the documents of a store, and encoded queries, in the formats that Pyserini reads.

    The folder ``docs/`` contains the documents as shards of a ``JsonVectorCollection``, and no other files, because
    these would make Anserini drop documents silently. A description is written for
    :class:`~pyserini_bridge.encoders.SaeQueryEncoder`. Queries are written in both forms that Pyserini accepts:
    ``topics.tsv`` repeats each term as often as its weight says, and ``queries.jsonl`` is for ``--encoder`` with topics
    of plain text. Query weights are multiplied by idf if the model requires it. A query without terms is written as
    ``_``.

    Args:
        store: The vectors of the documents.
        out: The folder to write.
        queries: A file of queries that ``saesplade encode --queries`` wrote.
        quantization: How document weights are converted to integers; by default 10 levels per unit of weight.
        shards: Maximum number of files in ``docs/``. Anserini indexes with one thread per file.
        overwrite: Whether to replace a folder that was exported.

    Returns:
        The folder.

    Raises:
        PathExistsError: If ``out`` exists and must not be replaced.
        ModelMismatchError: If another model encoded the queries.
        SettingError: If ``shards`` is not positive.
        DataError: If a term contains white space.

    Examples:
        >>> export_vectors(StoredVectors("my-vectors"), "exported")
        PosixPath('exported')
    """
    out = Path(out)
    require_positive(shards=shards)
    quantization = quantization or Quantization()
    topics = None if queries is None else _read_queries(queries, store)
    with replacing(out, lambda: _check_target(out, overwrite)) as folder:
        (folder / "docs").mkdir(parents=True)
        statistics, n_postings = _write_documents(store, folder / "docs", quantization, shards)
        require_whole_terms(store.terms, statistics)
        write_metadata(folder, VECTORS_TYPE, VECTORS_FORMAT, store, statistics, n_postings, quantization)
        if topics is None:
            _log.info("%s has no topics: pass a file that saesplade encode --queries wrote with --queries", out)
        else:
            _write_queries(topics, folder)
    return out


def _check_target(out: Path, overwrite: bool) -> None:
    require_new(out, overwrite=overwrite)
    if out.exists() and (read_metadata(out) or {}).get("type") != VECTORS_TYPE:
        raise PathExistsError(f"{out} was not written by an export: choose another folder, or remove it")


def _write_documents(
    store: StoredVectors, folder: Path, quantization: Quantization, shards: int
) -> tuple[LatentStatistics, int]:
    statistics, n_postings = LatentStatistics.empty(len(store.terms)), 0

    def lines() -> Iterator[str]:
        nonlocal n_postings
        for docnos, vectors in store.batches():
            quantised = quantization.quantize(vectors)
            statistics.update(quantised)
            n_postings += len(quantised.latents)
            for docno, toks in zip(docnos, to_toks(quantised, store.terms), strict=True):
                yield json.dumps({"id": docno, "vector": toks}, ensure_ascii=False) + "\n"

    rest = lines()
    size = -(-len(store) // shards)
    for number in range(-(-len(store) // size)):
        with (folder / f"docs-{number:05d}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(islice(rest, size))
    return statistics, n_postings


def _read_queries(path: str | os.PathLike[str], store: StoredVectors) -> pd.DataFrame:
    topics = read_queries(path)
    require_same_model(
        str(path),
        topics.attrs[FINGERPRINT],
        str(store.folder),
        store.fingerprint,
        "encode the queries with the model that encoded the documents",
    )
    return topics


def _write_queries(topics: pd.DataFrame, folder: Path) -> None:
    description = Description.read(folder)
    vectors = description.query_impacts(from_toks(topics["query_toks"], description.terms))
    with (folder / "topics.tsv").open("w", encoding="utf-8") as file:
        for qid, vector in zip(topics["qid"], vectors, strict=True):
            repeated = chain.from_iterable([term] * weight for term, weight in vector.items())
            file.write(f"{qid}\t{' '.join(repeated) or NOTHING}\n")
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        for query, vector in zip(as_texts(topics["query"]), vectors, strict=True):
            line = {"contents": (query or "").strip() or NOTHING, "vector": vector}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
