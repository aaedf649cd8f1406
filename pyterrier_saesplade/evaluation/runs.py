"""TREC run files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TextIO

import pandas as pd

from pyterrier_saesplade.collections import check_identifier
from pyterrier_saesplade.files import require_new, written_beside


def write_run(run: pd.DataFrame, path: str | os.PathLike[str], *, tag: str, overwrite: bool = False) -> Path:
    """Writes a run file, ``qid Q0 docno rank score tag`` per line, complete or not at all.

    Args:
        run: A result frame (``qid``, ``docno``, ``score``, ``rank`` from 0), written in its order; scores in full.
        path: The file; compressed if it ends in ``.gz``.
        tag: The name of the system.
        overwrite: Replace an existing file.

    Returns:
        The path.

    Raises:
        ValueError: If a docno, a qid or the tag is empty or holds a blank.
        FileExistsError: If the file exists and ``overwrite`` is false.

    Examples:
        >>> write_run(index.retriever()(topics), "concepts.trec.gz", tag="concepts")  # doctest: +SKIP
    """
    path = Path(path)
    require_new(path, overwrite=overwrite)
    check_identifier("run", "tag", tag)
    for column in ("qid", "docno"):
        for value in run[column].unique():
            check_identifier("run", column, value)
    with written_beside(path) as partial, _open(partial, compressed=path.suffix == ".gz") as file:
        for qid, docno, rank, score in zip(run["qid"], run["docno"], run["rank"], run["score"], strict=True):
            file.write(f"{qid} Q0 {docno} {rank} {float(score)!r} {tag}\n")
    return path


def _open(path: Path, *, compressed: bool) -> TextIO:
    return gzip.open(path, "wt", encoding="utf-8") if compressed else path.open("w", encoding="utf-8")
