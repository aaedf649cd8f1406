"""Test collections: documents, topics and relevance judgements from a folder or from a PyTerrier data set.

The layout of a collection's folder:

| file | content |
| --- | --- |
| `docs.jsonl` or `docs.jsonl.gz` | one JSON object a line: `docno`, `text` and, where there is one, `title` |
| `queries.tsv` | `qid<TAB>query`, no header |
| `qrels.txt` | TREC: `qid 0 docno rel` |
| `NAME/` | a further query set over the same documents: its own `queries.tsv` and `qrels.txt` |

All are UTF-8. Empty lines are passed over; whatever else does not fit is an error that names file and line.
"""

import gzip
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pyterrier_saesplade.files import numbered_lines, written_beside

if TYPE_CHECKING:
    from pyterrier.datasets import Dataset

DOCSTRINGS = "docstrings"


class Collection(ABC):
    """Documents with the topics and judgements that belong to them.

    Attributes:
        name: What the collection is called in tables and messages.
        language: That of its documents, two letters.
    """

    name: str
    language: str = "en"

    @property
    def source(self) -> str:
        """What `open_collection` takes to open it again: its name, unless it is a folder."""
        return self.name

    @abstractmethod
    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Iterate over the documents; every call starts again at the first.

        Yields:
            `docno`, `text` (title and text, joined by a blank) and, where the document has one, `title`.
        """

    @abstractmethod
    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        """Return the queries as a frame of `qid` and `query`.

        Args:
            query_set: A further query set over the same documents, such as `"train"`.
        """

    @abstractmethod
    def qrels(self, query_set: str | None = None) -> pd.DataFrame:
        """Return the relevance judgements as a frame of `qid`, `docno` and `label` (an integer).

        Args:
            query_set: A further query set over the same documents, such as `"train"`.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


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
        documents = _documents_file(self.folder)
        if documents is None:
            raise FileNotFoundError(f"{self.folder} is no collection: it holds neither docs.jsonl nor docs.jsonl.gz")
        self._documents = documents

    @property
    def source(self) -> str:
        """The folder's path, from the root."""
        return str(self.folder.resolve())

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
                raise ValueError(f"{where}: expected `qid 0 docno rel`, found {len(columns)} column(s)")
            qid, _, docno, rel = columns
            if (qid, docno) in labels:
                raise ValueError(f"{where}: qid {qid!r} and docno {docno!r} are judged twice")
            try:
                labels[qid, docno] = int(rel)
            except ValueError:
                raise ValueError(f"{where}: rel must be an integer, found {rel!r}") from None
        pairs = pd.DataFrame(list(labels), columns=["qid", "docno"], dtype=str)
        return pairs.assign(label=pd.Series(list(labels.values()), dtype="int64"))

    def __len__(self) -> int:
        """Count the documents, one pass over the file."""
        return sum(1 for _ in _lines(self._documents))

    def _query_set_file(self, query_set: str | None, name: str) -> Path:
        path = self.folder / (query_set or "") / name
        if not path.is_file():
            sets = sorted(file.parent.name for file in self.folder.glob(f"*/{name}"))
            raise FileNotFoundError(f"{path} does not exist; further query sets here: {', '.join(sets) or 'none'}")
        return path


class DatasetCollection(Collection):
    """A collection that PyTerrier or `ir_datasets` knows by name.

    Documents and queries of `ir_datasets` become text as their `default_text()` says. A query set is a variant of
    the topics (`"title"`) in PyTerrier's own data sets, a part of the data set (`"test"`) in those of `ir_datasets`.

    Args:
        name: A name that `pt.get_dataset` takes, such as `"vaswani"` or `"irds:beir/scifact/test"`.

    Raises:
        ValueError: There is no such data set.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._dataset = _get_dataset(name)
        source = _ir_dataset(self._dataset)
        if source is not None and source.has_docs():
            self.language = source.docs_lang() or "en"

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Stream the documents; see `Collection.get_corpus_iter`.

        Raises:
            ValueError: The data set has none.
        """
        source = _ir_dataset(self._dataset)
        if source is None:
            try:
                documents = self._dataset.get_corpus_iter(verbose=False)
            except NotImplementedError as error:
                raise _lacks(self.name, "corpus") from error
            for document in documents:
                yield _document(document["docno"], document["text"], document.get("title"))
        else:
            if not source.has_docs():
                raise _lacks(self.name, "corpus")
            for document in source.docs_iter():
                # default_text() holds the title already
                title = getattr(document, "title", None)
                named = {"title": title} if title else {}
                yield {"docno": document.doc_id, "text": document.default_text(), **named}

    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        """Return the queries; see `Collection.topics`.

        Raises:
            ValueError: The data set has none, or no such query set.
        """
        source = self._ir_query_set(query_set)
        if source is None:
            try:
                return self._dataset.get_topics(query_set)[["qid", "query"]]
            except NotImplementedError as error:
                raise _lacks(self.name, "topics") from error
        if not source.has_queries():
            raise _lacks(self._named(query_set), "topics")
        rows = [(query.query_id, query.default_text()) for query in source.queries_iter()]
        return pd.DataFrame(rows, columns=["qid", "query"], dtype=str)

    def qrels(self, query_set: str | None = None) -> pd.DataFrame:
        """Return the judgements; see `Collection.qrels`.

        Raises:
            ValueError: The data set has none, or no such query set.
        """
        source = self._ir_query_set(query_set)
        if source is None:
            try:
                return self._dataset.get_qrels(query_set)[["qid", "docno", "label"]]
            except NotImplementedError as error:
                raise _lacks(self.name, "qrels") from error
        if not source.has_qrels():
            raise _lacks(self._named(query_set), "qrels")
        rows = [(judged.query_id, judged.doc_id, judged.relevance) for judged in source.qrels_iter()]
        return pd.DataFrame(rows, columns=["qid", "docno", "label"])

    def _ir_query_set(self, query_set: str | None) -> Any:
        return _ir_dataset(_get_dataset(self._named(query_set)) if query_set and self._is_ir else self._dataset)

    def _named(self, query_set: str | None) -> str:
        return f"{self.name}/{query_set}" if query_set else self.name

    @property
    def _is_ir(self) -> bool:
        return _ir_dataset(self._dataset) is not None


def open_collection(name: str | os.PathLike[str], language: str | None = None) -> Collection:
    """Open a test collection.

    Args:
        name: A folder of this module's layout; a name that `pt.get_dataset` takes (`"vaswani"`,
            `"irds:beir/scifact/test"`); or `"docstrings"`, the collection made of the installed Python libraries
            (see `docstrings.docstring_collection`), which is kept in PyTerrier's home folder.
        language: That of the documents, two letters; `None`: what `ir_datasets` says of a data set, else English.

    Raises:
        ValueError: The name is none of these.

    Example:
        >>> from pyterrier_saesplade.evaluation.collections import open_collection, write_collection
        >>> documents = [{"docno": "d1", "text": "sparse vectors"}, {"docno": "d2", "text": "dense vectors"}]
        >>> topics = pd.DataFrame([["q1", "what is sparse"]], columns=["qid", "query"])
        >>> qrels = pd.DataFrame([["q1", "d1", 1]], columns=["qid", "docno", "label"])
        >>> write_collection("two-documents", documents, topics, qrels)     # doctest: +SKIP
        >>> open_collection("two-documents").topics()                       # doctest: +SKIP
          qid           query
        0  q1  what is sparse
    """
    collection = _opened(name)
    collection.language = language or collection.language
    return collection


def _opened(name: str | os.PathLike[str]) -> Collection:
    folder = Path(name)
    if _documents_file(folder) is not None:
        return FolderCollection(folder)
    if str(name) == DOCSTRINGS:
        import pyterrier as pt

        from pyterrier_saesplade.evaluation.docstrings import docstring_collection

        return docstring_collection(Path(pt.io.pyterrier_home()) / "saesplade" / DOCSTRINGS)
    return DatasetCollection(str(name))


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
            raise ValueError(f"{where}: expected qid<TAB>query, found {len(columns)} column(s)")
        qid, query = columns
        check_identifier(where, "qid", qid)
        if qid in queries:
            raise ValueError(f"{where}: qid {qid!r} stands in this file twice")
        queries[qid] = query
    if not queries:
        raise ValueError(f"{path} has no topics")
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
        raise FileExistsError(f"{folder} exists: choose another folder, or delete it first")
    with written_beside(folder) as beside:
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


def _documents_file(folder: Path) -> Path | None:
    files = [file for file in (folder / "docs.jsonl", folder / "docs.jsonl.gz") if file.is_file()]
    if len(files) == 2:
        raise ValueError(f"{folder} holds docs.jsonl and docs.jsonl.gz: delete one of them")
    return files[0] if files else None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield `file:number` and text of each line that is not empty."""
    for where, line in numbered_lines(path):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8: {error.reason}") from error
        if text:
            yield where, text


def _parse_document(where: str, line: str) -> dict[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a JSON object with docno and text")
    check_identifier(where, "docno", record.get("docno"))
    text, title = record.get("text"), record.get("title")
    if not isinstance(text, str):
        raise ValueError(f"{where}: text must be a string, found {text!r}")
    if not isinstance(title, str | None):
        raise ValueError(f"{where}: title must be a string, found {title!r}")
    return _document(record["docno"], text, title)


def _document(docno: str, text: str, title: str | None) -> dict[str, str]:
    if not title:
        return {"docno": docno, "text": text}
    return {"docno": docno, "text": f"{title} {text}", "title": title}


def check_identifier(where: str, column: str, value: object) -> None:
    """Refuse what cannot stand in a column of a run or of qrels, which white space separates.

    Args:
        where: Where the value stands, such as `file:number`, for the message.
        column: What it is, such as `docno`.
        value: The value.

    Raises:
        ValueError: The value is no string, empty, or holds white space.
    """
    if not isinstance(value, str) or value.split() != [value]:
        raise ValueError(f"{where}: {column} must be a string that is not empty and free of blanks, found {value!r}")


def _get_dataset(name: str) -> "Dataset":
    import pyterrier as pt

    try:
        return pt.get_dataset(name)
    except KeyError as error:
        message = f"{name!r} is neither a folder with docs.jsonl or docs.jsonl.gz nor a data set that PyTerrier knows"
        raise ValueError(f"{message} ({error.args[0]})") from error


def _lacks(name: str, part: str) -> ValueError:
    return ValueError(f"the data set {name!r} has no {part}: name another data set, or a part of this one that has")


def _ir_dataset(dataset: "Dataset") -> Any:
    """Return what `ir_datasets` gives for a data set, or None where it is not one of its own."""
    return dataset.irds_ref() if hasattr(dataset, "irds_ref") else None
