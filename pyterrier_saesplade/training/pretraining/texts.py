"""The texts of a corpus on disk, in Arrow, whatever they came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import atomic_write
from pyterrier_saesplade.training.extra import ArrowWriter, Dataset, Features, Value

#: So many texts tell whether a file holds the corpus that is given.
_COMPARED = 100


def spool_texts(documents: Iterable[Mapping[str, Any]], path: Path, queries: Iterable[str] = ()) -> Dataset:
    """Writes the texts of documents, and of queries, to an Arrow file, unless it is there already, and opens it.

    Training goes over a corpus several times, in random order, and again after a crash; an iterator of documents can
    do none of this. The file is memory-mapped: what it takes is disk (as much as the texts), not memory.

    Args:
        documents: PyTerrier documents: dictionaries with ``docno`` and ``text``.
        path: Where to write; it appears only when it is complete.
        queries: Texts of queries, which will be cut and marked as such.

    Raises:
        ValueError: If a document has no ``text``, there is no document with a text, or the file that is there already
            begins with other texts.
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
            raise DataError("the corpus is empty: there is no document with a text to learn from")
    return open_texts(path)


def open_texts(path: Path) -> Dataset:
    """Opens what :func:`spool_texts` wrote: a data set with the columns ``text`` and ``query``, whether it is one."""
    return Dataset.from_file(str(path))


def _texts(documents: Iterable[Mapping[str, Any]], queries: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yields the texts that are not empty, and whether each is a query's."""
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, Mapping):
            raise DataError("documents must be dictionaries with 'docno' and 'text'; of a frame: to_dict('records')")
        if "text" not in document:
            raise DataError(f"document {number} has no 'text' (it has {', '.join(document) or 'nothing'})")
        text = document["text"]
        if isinstance(text, str) and text.strip():
            yield text, False
    for query in queries:
        if query.strip():
            yield query, True
