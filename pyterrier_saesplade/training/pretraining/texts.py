"""The texts of a corpus in an Arrow file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import atomic_write
from pyterrier_saesplade.training.extra import ArrowWriter, Dataset, Features, Value

if TYPE_CHECKING:
    from pathlib import Path

#: Number of texts that are compared to check whether a file holds the given corpus.
_COMPARED = 100


def spool_texts(documents: Iterable[Mapping[str, Any]], path: Path, queries: Iterable[str] = ()) -> Dataset:
    """Writes the texts of documents and queries to an Arrow file, unless it exists already, and opens it.

    Training reads a corpus several times, in random order, and again after a crash, which an iterator of documents does
    not allow. The file is memory-mapped: it takes as much disk space as the texts, but no memory.

    Args:
        documents: PyTerrier documents: dictionaries with ``docno`` and ``text``.
        path: The file. It appears only when it is complete.
        queries: Texts of queries, which are truncated and marked as queries.

    Raises:
        DataError: If a document has no ``text``, no document has a text that is not empty, or an existing file begins
            with other texts.
    """
    if path.exists():
        spooled = open_texts(path)
        kept = spooled[:_COMPARED]["text"]
        if [text for text, _ in islice(_texts(documents, queries), _COMPARED)] != kept:
            raise DataError(f"{path.parent} holds an unfinished run on another corpus: finish it, or remove the folder")
        return spooled
    with atomic_write(path) as partial:
        features = Features({"text": Value("large_string"), "query": Value("bool")})
        with ArrowWriter(path=str(partial), features=features) as writer:
            for text, is_query in _texts(documents, queries):
                writer.write({"text": text, "query": is_query})
            count, _ = writer.finalize()
        if not count:
            raise DataError("the corpus is empty: no document has a text")
    return open_texts(path)


def open_texts(path: Path) -> Dataset:
    """Opens the file that :func:`spool_texts` wrote; the column ``query`` says whether a ``text`` is a query."""
    return Dataset.from_file(str(path))


def _texts(documents: Iterable[Mapping[str, Any]], queries: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yields each text that is not empty, and whether it is a query."""
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, Mapping):
            raise DataError(
                f"documents must be dictionaries with 'docno' and 'text', not {type(document).__name__}: convert a "
                "frame with to_dict('records')"
            )
        if "text" not in document:
            raise DataError(f"document {number} has no 'text' (it has {', '.join(document) or 'nothing'})")
        text = document["text"]
        if isinstance(text, str) and text.strip():
            yield text, False
    for query in queries:
        if query.strip():
            yield query, True
