"""Opening a collection by its folder or its name."""

from __future__ import annotations

import os
from pathlib import Path

from pyterrier_saesplade.collections.base import Collection
from pyterrier_saesplade.collections.dataset import DatasetCollection
from pyterrier_saesplade.collections.docstrings import docstring_collection
from pyterrier_saesplade.collections.folder import FolderCollection, documents_file

DOCSTRINGS = "docstrings"


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
    """Returns a collection that is given as it is, or opens it by its folder or name."""
    return source if isinstance(source, Collection) else open_collection(source)
