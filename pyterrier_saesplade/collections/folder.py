"""Collections in folders: documents, topics and relevance judgements in files.

The layout of a collection's folder:

| file | content |
| --- | --- |
| `docs.jsonl` or `docs.jsonl.gz` | one JSON object a line: `docno`, `text` and, where there is one, `title` |
| `queries.tsv` | `qid<TAB>query`, no header |
| `qrels.txt` | TREC: `qid 0 docno rel` |
| `NAME/` | a further query set over the same documents: its own `queries.tsv` and `qrels.txt` |

All are UTF-8. Empty lines are passed over; whatever else does not fit is an error that names file and line.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyterrier_saesplade.collections.base import Collection, check_identifier, make_document
from pyterrier_saesplade.collections.cache import file_identity
from pyterrier_saesplade.errors import DataError, PathExistsError, PathNotFoundError
from pyterrier_saesplade.files import atomic_write, numbered_lines


class FolderCollection(Collection):
    """A collection in a folder of the layout above.

    Args:
        folder: The folder.

    Raises:
        FileNotFoundError: The folder holds neither `docs.jsonl` nor `docs.jsonl.gz`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.name = self.folder.resolve().name
        documents = documents_file(self.folder)
        if documents is None:
            raise PathNotFoundError(f"{self.folder} is no collection: it holds neither docs.jsonl nor docs.jsonl.gz")
        self._documents = documents

    @property
    def source(self) -> str:
        """The folder's path, from the root."""
        return str(self.folder.resolve())

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its file of documents from others."""
        return {file.name: file_identity(file) for file in sorted(self.folder.glob("docs.jsonl*"))}

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Stream the documents; see `Collection.get_corpus_iter`.

        Raises:
            ValueError: A line is not a JSON object with a `docno` free of blanks and a `text`.
        """
        for where, line in _lines(self._documents):
            yield _parse_document(where, line)

    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        """Read the queries; see `Collection.topics`.

        Raises:
            FileNotFoundError: There are none, or no such query set.
            ValueError: A line is not `qid<TAB>query`, or a qid stands twice.
        """
        return read_topics(self._query_set_file(query_set, "queries.tsv"))

    def qrels(self, query_set: str | None = None) -> pd.DataFrame:
        """Read the judgements; see `Collection.qrels`.

        Raises:
            FileNotFoundError: There are none, or no such query set.
            ValueError: A line is not `qid 0 docno rel` with an integer `rel`, or a pair is judged twice.
        """
        labels: dict[tuple[str, str], int] = {}
        for where, line in _lines(self._query_set_file(query_set, "qrels.txt")):
            columns = line.split()
            if len(columns) != 4:
                raise DataError(f"{where}: expected `qid 0 docno rel`, found {len(columns)} column(s)")
            qid, _, docno, rel = columns
            if (qid, docno) in labels:
                raise DataError(f"{where}: qid {qid!r} and docno {docno!r} are judged twice")
            try:
                labels[qid, docno] = int(rel)
            except ValueError:
                raise DataError(f"{where}: rel must be an integer, found {rel!r}") from None
        pairs = pd.DataFrame(list(labels), columns=["qid", "docno"], dtype=str)
        return pairs.assign(label=pd.Series(list(labels.values()), dtype="int64"))

    def __len__(self) -> int:
        """Count the documents, one pass over the file."""
        return sum(1 for _ in _lines(self._documents))

    def _query_set_file(self, query_set: str | None, name: str) -> Path:
        path = self.folder / (query_set or "") / name
        if not path.is_file():
            sets = sorted(file.parent.name for file in self.folder.glob(f"*/{name}"))
            raise PathNotFoundError(f"{path} does not exist; further query sets here: {', '.join(sets) or 'none'}")
        return path


def read_topics(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a file of topics, `qid<TAB>query` a line in UTF-8; empty lines are passed over.

    Returns:
        A frame of `qid` and `query`.

    Raises:
        ValueError: A line is not `qid<TAB>query`, a qid stands twice, or there is no line.
    """
    queries: dict[str, str] = {}
    for where, line in _lines(Path(path)):
        columns = line.split("\t")
        if len(columns) != 2:
            raise DataError(f"{where}: expected qid<TAB>query, found {len(columns)} column(s)")
        qid, query = columns
        check_identifier(where, "qid", qid)
        if qid in queries:
            raise DataError(f"{where}: qid {qid!r} stands in this file twice")
        queries[qid] = query
    if not queries:
        raise DataError(f"{path} has no topics")
    return pd.DataFrame({"qid": list(queries), "query": list(queries.values())}, dtype=str)


def write_collection(
    folder: str | os.PathLike[str],
    documents: Iterable[Mapping[str, str]],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
) -> Collection:
    """Write a collection's folder, beside its place first, and move it there when it is complete.

    Args:
        folder: Where to; must not exist.
        documents: `docno` and `text`. A `title` is not written on its own, for `text` holds it
            (see `Collection.get_corpus_iter`).
        topics: `qid` and `query`; white space in a query becomes single blanks.
        qrels: `qid`, `docno` and `label`.

    Returns:
        The collection, opened.

    Raises:
        FileExistsError: The folder is there already.
        ValueError: A docno or qid is empty or holds white space.
    """
    folder = Path(folder)
    if folder.exists():
        raise PathExistsError(f"{folder} exists: choose another folder, or delete it first")
    with atomic_write(folder) as beside:
        beside.mkdir()
        # mtime=0: equal documents make equal files
        with gzip.GzipFile(beside / "docs.jsonl.gz", "wb", mtime=0) as stream:
            for document in documents:
                record = {"docno": document["docno"], "text": document["text"]}
                check_identifier("documents", "docno", record["docno"])
                stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        with open(beside / "queries.tsv", "w", encoding="utf-8", newline="\n") as text:
            for qid, query in zip(topics["qid"], topics["query"], strict=True):
                check_identifier("topics", "qid", qid)
                text.write(f"{qid}\t{' '.join(query.split())}\n")
        with open(beside / "qrels.txt", "w", encoding="utf-8", newline="\n") as text:
            for qid, docno, label in zip(qrels["qid"], qrels["docno"], qrels["label"], strict=True):
                check_identifier("qrels", "qid", qid)
                check_identifier("qrels", "docno", docno)
                text.write(f"{qid} 0 {docno} {label}\n")
    return FolderCollection(folder)


def documents_file(folder: Path) -> Path | None:
    """Returns the file of documents in a folder; ``None`` if it holds none."""
    files = [file for file in (folder / "docs.jsonl", folder / "docs.jsonl.gz") if file.is_file()]
    if len(files) == 2:
        raise DataError(f"{folder} holds docs.jsonl and docs.jsonl.gz: delete one of them")
    return files[0] if files else None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield `file:number` and text of each line that is not empty."""
    for where, line in numbered_lines(path):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8: {error.reason}") from error
        if text:
            yield where, text


def _parse_document(where: str, line: str) -> dict[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object with docno and text")
    check_identifier(where, "docno", record.get("docno"))
    text, title = record.get("text"), record.get("title")
    if not isinstance(text, str):
        raise DataError(f"{where}: text must be a string, found {text!r}")
    if not isinstance(title, str | None):
        raise DataError(f"{where}: title must be a string, found {title!r}")
    return make_document(record["docno"], text, title)
