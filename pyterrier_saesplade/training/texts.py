"""The texts of a corpus on disk, in Arrow, whatever they came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value
from datasets.arrow_writer import ArrowWriter

from pyterrier_saesplade.files import written_beside

#: So many texts tell whether a file holds the corpus that is given.
_COMPARED = 100


def spool_texts(documents: Iterable[Mapping[str, Any]], path: Path) -> Dataset:
    """Writes the documents' texts to an Arrow file, unless it is there already, and opens it.

    Training goes over a corpus several times, in random order, and again after a crash; an iterator of documents can
    do none of this. The file is memory-mapped: what it takes is disk (as much as the texts), not memory.

    Args:
        documents: PyTerrier documents: dictionaries with ``docno`` and ``text``.
        path: Where to write; it appears only when it is complete.

    Raises:
        ValueError: If a document has no ``text``, there is no document with a text, or the file that is there already
            begins with other texts.
    """
    if path.exists():
        spooled = open_texts(path)
        kept = spooled[:_COMPARED]["text"]
        if list(islice(_texts(documents), _COMPARED)) != kept:
            raise ValueError(
                f"{path.parent} holds an unfinished run on another corpus: finish it, or remove the folder"
            )
        return spooled
    with written_beside(path) as partial:
        with ArrowWriter(path=str(partial), features=Features({"text": Value("large_string")})) as writer:
            for text in _texts(documents):
                writer.write({"text": text})
            count, _ = writer.finalize()
        if not count:
            raise ValueError("the corpus is empty: there is no document with a text to learn from")
    return open_texts(path)


def open_texts(path: Path) -> Dataset:
    """Opens what :func:`spool_texts` wrote: a data set with the column ``text``."""
    return Dataset.from_file(str(path))


def _texts(documents: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, Mapping):
            raise ValueError("documents must be dictionaries with 'docno' and 'text'; of a frame: to_dict('records')")
        if "text" not in document:
            raise ValueError(f"document {number} has no 'text' (it has {', '.join(document) or 'nothing'})")
        text = document["text"]
        if isinstance(text, str) and text.strip():
            yield text
