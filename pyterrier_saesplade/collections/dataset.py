"""Collections from the catalogues of PyTerrier and ``ir_datasets``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from pyterrier_saesplade.collections.base import Collection, make_document
from pyterrier_saesplade.errors import DataError, SaespladeError, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyterrier.datasets import Dataset


class DatasetCollection(Collection):
    """A collection from the catalogue of PyTerrier or ``ir_datasets``.

    The text of documents and queries from ``ir_datasets`` is their ``default_text()``. A query set is a variant of the
    topics (such as ``"title"``) in PyTerrier's own datasets, and a subset of the dataset (such as ``"test"``) in
    ``ir_datasets``.

    Args:
        name: A name that ``pt.get_dataset`` accepts, such as ``"vaswani"`` or ``"irds:beir/scifact/test"``.

    Raises:
        SettingError: If there is no such dataset.

    Examples:
        >>> collection = DatasetCollection("irds:beir/scifact/test")
        >>> collection.identity
        {'collection': 'irds:beir/scifact/test'}
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._dataset = _get_dataset(name)
        source = _ir_dataset(self._dataset)
        if source is not None and source.has_docs():
            self.language = source.docs_lang() or "en"

    @property
    def identity(self) -> dict[str, Any]:
        """Its name, because the documents of a dataset do not change."""
        return {"collection": self.name}

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Streams the documents; see :meth:`Collection.get_corpus_iter`.

        Raises:
            DataError: If the dataset has no documents, or cannot be downloaded.
        """
        with downloading(self.name):
            yield from self._documents()

    def _documents(self) -> Iterator[dict[str, str]]:
        source = _ir_dataset(self._dataset)
        if source is None:
            try:
                documents = self._dataset.get_corpus_iter(verbose=False)
            except NotImplementedError as error:
                raise _lacks(self.name, "corpus") from error
            for document in documents:
                yield make_document(document["docno"], document["text"], document.get("title"))
        else:
            if not source.has_docs():
                raise _lacks(self.name, "corpus")
            for document in source.docs_iter():
                # default_text() already includes the title.
                title = getattr(document, "title", None)
                named = {"title": title} if title else {}
                yield {"docno": document.doc_id, "text": document.default_text(), **named}

    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        """Returns the queries; see :meth:`Collection.topics`.

        Raises:
            DataError: If the dataset has no queries, or cannot be downloaded.
            SettingError: If it has no such query set.
        """
        with downloading(self._named(query_set)):
            return self._read_topics(query_set)

    def _read_topics(self, query_set: str | None) -> pd.DataFrame:
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
        """Returns the qrels; see :meth:`Collection.qrels`.

        Raises:
            DataError: If the dataset has no qrels, or cannot be downloaded.
            SettingError: If it has no such query set.
        """
        with downloading(self._named(query_set)):
            return self._read_qrels(query_set)

    def _read_qrels(self, query_set: str | None) -> pd.DataFrame:
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


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Turns what ``ir_datasets`` raises if a download fails into a :exc:`DataError` that names the dataset."""
    try:
        yield
    except SaespladeError:  # such as a missing Java, which reads some corpora
        raise
    except (RuntimeError, OSError) as error:  # ir_datasets raises one of these if every download source fails
        raise DataError(f"{name} could not be downloaded: {error}") from error


def _get_dataset(name: str) -> Dataset:
    import pyterrier as pt

    try:
        return pt.get_dataset(name)
    except KeyError as error:
        message = f"{name!r} is neither a folder with docs.jsonl or docs.jsonl.gz nor the name of a PyTerrier dataset"
        raise SettingError(f"{message} ({error.args[0]})") from error


def _lacks(name: str, part: str) -> DataError:
    return DataError(f"the dataset {name!r} has no {part}: name another dataset, or a subset of this one that has it")


def _ir_dataset(dataset: Dataset) -> Any:
    """Returns the ``ir_datasets`` object behind a dataset, or ``None`` if it is one of PyTerrier's own."""
    return dataset.irds_ref() if hasattr(dataset, "irds_ref") else None
