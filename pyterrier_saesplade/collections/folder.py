"""Collections in folders: documents, topics and qrels in files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pyterrier_saesplade.collections.base import Collection, check_identifier, make_document
from pyterrier_saesplade.collections.cache import file_identity
from pyterrier_saesplade.errors import DataError, PathExistsError, PathNotFoundError
from pyterrier_saesplade.files import atomic_write, numbered_lines

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping


class FolderCollection(Collection):
    """A collection in a folder.

    The folder contains these files, all in UTF-8:

    - ``docs.jsonl`` or ``docs.jsonl.gz``: one JSON object per line, with ``docno``, ``text`` and, optionally, ``title``
    - ``queries.tsv``: lines of ``qid<TAB>query``, without a header
    - ``qrels.txt``: lines of ``qid 0 docno rel``, as in TREC
    - ``NAME/``: another query set over the same documents, with its own ``queries.tsv`` and ``qrels.txt``

    Empty lines are skipped. Any other deviation is an error that names the file and the line.

    Args:
        folder: The folder.

    Raises:
        PathNotFoundError: If the folder contains neither ``docs.jsonl`` nor ``docs.jsonl.gz``.
        DataError: If it contains both.

    Examples:
        >>> collection = FolderCollection("my-collection")
        >>> len(collection), len(collection.topics()), len(collection.qrels("train"))
        (12, 4, 7)
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.name = self.folder.resolve().name
        documents = documents_file(self.folder)
        if documents is None:
            raise PathNotFoundError(
                f"{self.folder} is not a collection: it contains neither docs.jsonl nor docs.jsonl.gz"
            )
        self._documents = documents

    @property
    def source(self) -> str:
        """The absolute path of the folder."""
        return str(self.folder.resolve())

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its file of documents from other files, and from earlier versions of itself."""
        return {file.name: file_identity(file) for file in sorted(self.folder.glob("docs.jsonl*"))}

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Streams the documents; see :meth:`Collection.get_corpus_iter`.

        Raises:
            DataError: If a line is not a JSON object with a ``text`` and a ``docno`` without whitespace.
        """
        for where, line in _lines(self._documents):
            yield _parse_document(where, line)

    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        """Reads the queries; see :meth:`Collection.topics`.

        Raises:
            PathNotFoundError: If there are no queries, or there is no such query set.
            DataError: If a line is not ``qid<TAB>query``, or a qid occurs twice.
        """
        return read_topics(self._query_set_file(query_set, "queries.tsv"))

    def qrels(self, query_set: str | None = None) -> pd.DataFrame:
        """Reads the qrels; see :meth:`Collection.qrels`.

        Raises:
            PathNotFoundError: If there are no qrels, or there is no such query set.
            DataError: If a line is not ``qid 0 docno rel`` with an integer ``rel``, or a pair is judged twice.
        """
        labels: dict[tuple[str, str], int] = {}
        for where, line in _lines(self._query_set_file(query_set, "qrels.txt")):
            columns = line.split()
            if len(columns) != 4:
                raise DataError(f"{where}: expected 4 columns, 'qid 0 docno rel', found {len(columns)}")
            qid, _, docno, rel = columns
            if (qid, docno) in labels:
                raise DataError(f"{where}: the pair of qid {qid!r} and docno {docno!r} is judged twice")
            try:
                labels[qid, docno] = int(rel)
            except ValueError:
                raise DataError(f"{where}: rel must be an integer, not {rel!r}") from None
        pairs = pd.DataFrame(list(labels), columns=["qid", "docno"], dtype=str)
        return pairs.assign(label=pd.Series(list(labels.values()), dtype="int64"))

    def __len__(self) -> int:
        """Counts the documents, in one pass over the file."""
        return sum(1 for _ in _lines(self._documents))

    def _query_set_file(self, query_set: str | None, name: str) -> Path:
        path = self.folder / (query_set or "") / name
        if not path.is_file():
            sets = sorted(file.parent.name for file in self.folder.glob(f"*/{name}"))
            raise PathNotFoundError(
                f"{path} does not exist; the query sets with such a file are: {', '.join(sets) or 'none'}"
            )
        return path


def read_topics(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads a UTF-8 file of topics, with lines of ``qid<TAB>query``; empty lines are skipped.

    Returns:
        A frame of ``qid`` and ``query``.

    Raises:
        DataError: If a line is not ``qid<TAB>query``, a qid occurs twice, or the file is empty.

    Examples:
        >>> read_topics("my-collection/queries.tsv").head(1)
          qid       query
        0  q1  river bank
    """
    queries: dict[str, str] = {}
    for where, line in _lines(Path(path)):
        columns = line.split("\t")
        if len(columns) != 2:
            raise DataError(f"{where}: expected 2 columns, qid<TAB>query, found {len(columns)}")
        qid, query = columns
        check_identifier(where, "qid", qid)
        if qid in queries:
            raise DataError(f"{where}: the qid {qid!r} occurs twice in this file")
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
    """Writes a collection to a folder, which appears when it is complete.

    Args:
        folder: The folder, which must not exist.
        documents: Dictionaries with ``docno`` and ``text``. A ``title`` is not written separately, because ``text``
            includes it (see :meth:`Collection.get_corpus_iter`).
        topics: A frame of ``qid`` and ``query``. Whitespace in queries is reduced to single spaces.
        qrels: A frame of ``qid``, ``docno`` and ``label``.

    Returns:
        The new collection.

    Raises:
        PathExistsError: If the folder exists.
        DataError: If a docno or qid is empty or contains whitespace.

    Examples:
        >>> write_collection("copy", collection.get_corpus_iter(), collection.topics(), collection.qrels())
        FolderCollection('copy')
    """
    folder = Path(folder)
    if folder.exists():
        raise PathExistsError(f"{folder} exists already: choose another folder, or delete it first")
    with atomic_write(folder) as partial:
        partial.mkdir()
        # mtime=0, so that the same documents give the same file.
        with gzip.GzipFile(partial / "docs.jsonl.gz", "wb", mtime=0) as stream:
            for document in documents:
                record = {"docno": document["docno"], "text": document["text"]}
                check_identifier("documents", "docno", record["docno"])
                stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        with open(partial / "queries.tsv", "w", encoding="utf-8", newline="\n") as text:
            for qid, query in zip(topics["qid"], topics["query"], strict=True):
                check_identifier("topics", "qid", qid)
                text.write(f"{qid}\t{' '.join(query.split())}\n")
        with open(partial / "qrels.txt", "w", encoding="utf-8", newline="\n") as text:
            for qid, docno, label in zip(qrels["qid"], qrels["docno"], qrels["label"], strict=True):
                check_identifier("qrels", "qid", qid)
                check_identifier("qrels", "docno", docno)
                text.write(f"{qid} 0 {docno} {label}\n")
    return FolderCollection(folder)


def documents_file(folder: Path) -> Path | None:
    """Returns the file of documents in a folder, or ``None`` if there is none.

    Raises:
        DataError: If there are two.
    """
    files = [file for file in (folder / "docs.jsonl", folder / "docs.jsonl.gz") if file.is_file()]
    if len(files) == 2:
        raise DataError(f"{folder} contains both docs.jsonl and docs.jsonl.gz: delete one of them")
    return files[0] if files else None


def is_collection(folder: Path) -> bool:
    """Returns whether a folder contains documents, queries and qrels.

    Raises:
        DataError: If it contains two files of documents.

    Examples:
        >>> is_collection(Path("my-collection"))
        True
    """
    query_files = (folder / "queries.tsv", folder / "qrels.txt")
    return documents_file(folder) is not None and all(file.is_file() for file in query_files)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields ``file:number`` and the text of each line that is not empty."""
    for where, line in numbered_lines(path):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: invalid UTF-8: {error.reason}") from error
        if text:
            yield where, text


def _parse_document(where: str, line: str) -> dict[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: invalid JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object with docno and text")
    check_identifier(where, "docno", record.get("docno"))
    text, title = record.get("text"), record.get("title")
    if not isinstance(text, str):
        raise DataError(f"{where}: text must be a string, not {text!r}")
    if not isinstance(title, str | None):
        raise DataError(f"{where}: title must be a string, not {title!r}")
    return make_document(record["docno"], text, title)
