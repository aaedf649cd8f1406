"""Vectors that other tools made, to a store."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import require_new, scratch_beside
from pyterrier_saesplade.formats import ciff, jsonl
from pyterrier_saesplade.impacts import Terms
from pyterrier_saesplade.protocols import IndexedModel
from pyterrier_saesplade.store import StoredVectors, write_store
from pyterrier_saesplade.types import Weighting
from pyterrier_saesplade.vectors import ConceptVectors

_Windows = Iterator[tuple[list[str], ConceptVectors]]


class _Reader(NamedTuple):
    terms: Callable[[Path], list[str]]
    read: Callable[[Path, Terms, Path], _Windows]


_READERS = {
    "ciff": _Reader(ciff.read_terms, ciff.read_windows),
    "jsonl": _Reader(jsonl.read_terms, lambda path, terms, _: jsonl.read_windows(path, terms)),
}


def import_vectors(
    path: str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str],
    *,
    model: IndexedModel | None = None,
    scale: float = 1.0,
) -> StoredVectors:
    """Makes a store of vectors that another tool made, or that were exported.

    A store is what every engine indexes, what can be exported again, inspected and shared; so it is what is imported
    to, complete or not at all.

    Args:
        path: The file.
        format: ``"ciff"`` or ``"jsonl"``.
        out: The folder of the store.
        model: The model that made the vectors, or a store of its vectors. ``None``: an unknown one, whose vocabulary
            are the names that occur in the file.
        scale: Weights in the file are divided by it: the levels per unit of weight, if they are integers. Then
            ``Quantization(scale)`` gives the same integers again.

    Returns:
        The store.

    Raises:
        FileExistsError: If there is something at ``out``.
        FileNotFoundError: If there is no such file.
        ValueError: If the format is unknown, the file is damaged, has no document or a docno twice, or names a latent
            that the model has not.

    Examples:
        >>> vectors = {"docno": "d1", "vector": {"cat": 120, "kitten": 45}}
        >>> _ = Path("docs.jsonl").write_text(json.dumps(vectors))
        >>> store = import_vectors("docs.jsonl", "jsonl", "vectors", scale=100)
        >>> next(store.get_corpus_iter())["toks"].keys()
        dict_keys(['cat', 'kitten'])
        >>> index = ConceptIndexer(store, "concepts.exact", "exact").index(store)
    """
    if format not in _READERS:
        raise DataError(f"vectors can be imported from {' or '.join(map(repr, _READERS))}, not {format!r}")
    if not (np.isfinite(scale) and scale > 0):
        raise DataError(f"scale must be a positive number of levels per unit of weight, not {scale!r}")
    path, out = Path(path), Path(out)
    require_new(out)
    reader = _READERS[format]
    if model is None:
        names = reader.terms(path)
        model = _UnknownModel(path.name, Terms(len(names), names))
    with scratch_beside(out) as workplace:
        for name in ("scratch", "store"):
            (workplace / name).mkdir(parents=True)
        windows = reader.read(path, model.terms, workplace / "scratch")
        write_store(model, _divided(windows, scale), workplace / "store")
        (workplace / "store").rename(out)
    return StoredVectors(out)


@dataclass(frozen=True)
class _UnknownModel:
    """Stands for the model that made a file of vectors: known by the vocabulary alone."""

    name: str
    terms: Terms
    weighting: Weighting = "none"

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.terms.pieces).encode()).hexdigest()

    def __str__(self) -> str:
        return self.name


def _divided(windows: _Windows, scale: float) -> _Windows:
    for docnos, vectors in windows:
        yield docnos, replace(vectors, weights=(vectors.weights / scale).astype(np.float32))
