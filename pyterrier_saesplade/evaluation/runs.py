"""TREC run files: searches for a file of topics, and writes results to a run file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pyterrier_saesplade.collections import check_identifier, read_topics
from pyterrier_saesplade.engines import open_index
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.formats import read_queries as read_jsonl_queries
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import read_queries

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import pandas as pd


def search(
    index: str | os.PathLike[str],
    model: SaeSplade | str | os.PathLike[str] | None,
    topics: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    num_results: int = 1000,
    engine_options: Mapping[str, Any] | None = None,
    tag: str = "saesplade",
    overwrite: bool = False,
) -> Path:
    """Searches an index for all topics of a file and writes a TREC run.

    Args:
        index: The folder of an index of concept vectors, of any engine.
        model: The model that encoded the documents, or its folder or hub name; ``None`` if the topics are encoded.
        topics: A file of ``qid<TAB>query`` lines; or a file of encoded queries, ending in ``.parquet`` or
            ``.jsonl[.gz]`` (``qid`` and ``vector``).
        out: The run file; compressed if it ends in ``.gz``.
        num_results: Maximum number of documents per query.
        engine_options: Search options of the engine; see its class.
        tag: The name of the run, in the last column.
        overwrite: Replace an existing run file.

    Returns:
        The path of the run file.

    Raises:
        PathNotFoundError: If there is no such index or topics file.
        PathExistsError: If the run file exists and ``overwrite`` is false.
        DataError: If a line of the topics is malformed, an identifier contains white space, or the engine of the index
            is unknown.
        ModelMismatchError: If another model built the index.
        SettingError: If a model is needed but not given, or an option is unknown.

    Examples:
        >>> search("my-index", "my-model", "my-collection/queries.tsv", "concepts.trec.gz", num_results=100)
        PosixPath('concepts.trec.gz')
    """
    out = Path(out)
    require_new(out, overwrite=overwrite)
    check_identifier("run", "tag", tag)
    topics = Path(topics)
    encoded = _read_encoded(topics)
    if encoded is None and model is None:
        raise SettingError(f"a model is needed to encode the queries of {topics}: give one")
    queries = read_topics(topics) if encoded is None else encoded
    concepts = open_index(index, **(engine_options or {}))
    if model is None or encoded is not None:
        run = concepts.retriever(num_results).transform(queries)
    else:
        model = model if isinstance(model, SaeSplade) else SaeSplade.from_pretrained(model)
        run = model.retriever(concepts, num_results).transform(queries)
    return write_run(run, out, tag=tag, overwrite=overwrite)


def _read_encoded(topics: Path) -> pd.DataFrame | None:
    if topics.suffix == ".parquet":
        return read_queries(topics)
    if topics.name.endswith((".jsonl", ".jsonl.gz")):
        return read_jsonl_queries(topics)
    return None


def write_run(run: pd.DataFrame, path: str | os.PathLike[str], *, tag: str, overwrite: bool = False) -> Path:
    """Writes a TREC run file, with a line ``qid Q0 docno rank score tag`` for each result.

    There are three reasons not to use ``pt.io.write_results``: scores are written exactly, even those of 32 bits;
    identifiers are checked, because white space in one of them would break the columns; and the file only appears when
    it is complete.

    Args:
        run: A result frame (``qid``, ``docno``, ``score``, ``rank`` from 0). Lines are in the order of its rows.
        path: The file; compressed if it ends in ``.gz``.
        tag: The name of the system.
        overwrite: Replace an existing file.

    Returns:
        The path of the file.

    Raises:
        DataError: If a docno, a qid or the tag is empty or contains white space.
        PathExistsError: If the file exists and ``overwrite`` is false.

    Examples:
        >>> run = model.retriever(index).transform(topics)
        >>> write_run(run, "concepts.trec.gz", tag="concepts")
        PosixPath('concepts.trec.gz')
    """
    path = Path(path)
    require_new(path, overwrite=overwrite)
    check_identifier("run", "tag", tag)
    for column in ("qid", "docno"):
        for value in run[column].unique():
            check_identifier("run", column, value)
    with atomic_write(path) as partial, _open(partial, compressed=path.suffix == ".gz") as file:
        for qid, docno, rank, score in zip(run["qid"], run["docno"], run["rank"], run["score"], strict=True):
            file.write(f"{qid} Q0 {docno} {rank} {float(score)!r} {tag}\n")
    return path


def _open(path: Path, *, compressed: bool) -> TextIO:
    return gzip.open(path, "wt", encoding="utf-8") if compressed else path.open("w", encoding="utf-8")
