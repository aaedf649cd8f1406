"""A store as an artifact of PyTerrier, which moves it to and from hubs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pyterrier as pt

from pyterrier_saesplade.store.reader import STORE_FORMAT, STORE_TYPE, StoredVectors


class ConceptStore(StoredVectors, pt.Artifact):
    """The concept vectors of a corpus, encoded before: what ``pt.Artifact.load`` makes of a store's folder.

    Examples:
        >>> store = pt.Artifact.load("vectors")  # doctest: +SKIP
        >>> index = ConceptIndexer(store, "concepts.index").index(store)  # doctest: +SKIP
    """

    ARTIFACT_TYPE: ClassVar[str] = STORE_TYPE
    ARTIFACT_FORMAT: ClassVar[str] = STORE_FORMAT
    ARTIFACT_PACKAGE_HINT: ClassVar[str] = "pyterrier_saesplade"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        pt.Artifact.__init__(self, Path(path))
        StoredVectors.__init__(self, path)
