"""Opening a collection by folder or name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_saesplade.collections.base import Collection
from pyterrier_saesplade.collections.dataset import DatasetCollection
from pyterrier_saesplade.collections.docstrings import docstring_collection
from pyterrier_saesplade.collections.folder import FolderCollection, documents_file

if TYPE_CHECKING:
    import os

DOCSTRINGS = "docstrings"


def open_collection(name: str | os.PathLike[str], language: str | None = None) -> Collection:
    """Opens a test collection.

    Args:
        name: One of three things: a folder with documents, topics and qrels (see
            :class:`~pyterrier_saesplade.collections.FolderCollection`); a name that ``pt.get_dataset`` accepts, such as
            ``"vaswani"`` or ``"irds:beir/scifact/test"``; or ``"docstrings"``, for a collection made from the installed
            Python libraries, which is stored in PyTerrier's home folder.
        language: The language of the documents, as a two-letter code; ``None`` for the language that ``ir_datasets``
            records, or English.

    Raises:
        SettingError: If the name is neither a folder nor a known dataset.
        DataError: If the folder contains both ``docs.jsonl`` and ``docs.jsonl.gz``.

    Examples:
        >>> from pyterrier_saesplade.collections import open_collection, write_collection
        >>> documents = [{"docno": "d1", "text": "sparse vectors"}, {"docno": "d2", "text": "dense vectors"}]
        >>> topics = pd.DataFrame([["q1", "what is sparse"]], columns=["qid", "query"])
        >>> qrels = pd.DataFrame([["q1", "d1", 1]], columns=["qid", "docno", "label"])
        >>> collection = write_collection("two-documents", documents, topics, qrels)
        >>> open_collection("two-documents").topics()
          qid           query
        0  q1  what is sparse
    """
    collection = _opened(name)
    collection.language = language or collection.language
    return collection


def _opened(name: str | os.PathLike[str]) -> Collection:
    folder = Path(name)
    if documents_file(folder) is not None:
        return FolderCollection(folder)
    if str(name) == DOCSTRINGS:
        import pyterrier as pt

        return docstring_collection(Path(pt.io.pyterrier_home()) / "saesplade" / DOCSTRINGS)
    return DatasetCollection(str(name))


def as_collection(source: Collection | str | os.PathLike[str]) -> Collection:
    """Opens a collection by folder or name; a collection is returned as it is."""
    return source if isinstance(source, Collection) else open_collection(source)
