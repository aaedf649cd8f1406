"""Imports vectors of other tools into a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.files import replacing, require_new
from pyterrier_saesplade.formats import ciff, jsonl
from pyterrier_saesplade.impacts import Terms
from pyterrier_saesplade.store import StoredVectors, write_store
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    import os

    from pyterrier_saesplade.protocols import IndexedModel
    from pyterrier_saesplade.types import Weighting

_Batches = Iterator[tuple[list[str], ConceptVectors]]


class _Reader(NamedTuple):
    terms: Callable[[Path], list[str]]
    read: Callable[[Path, Terms, Path], _Batches]


_READERS = {
    "ciff": _Reader(ciff.read_terms, ciff.read_batches),
    "jsonl": _Reader(jsonl.read_terms, lambda path, terms, _: jsonl.read_batches(path, terms)),
}


def import_vectors(
    path: str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str],
    *,
    model: IndexedModel | None = None,
    scale: float = 1.0,
) -> StoredVectors:
    """Creates a store from vectors that were exported, or that another tool computed.

    Every engine can index a store, and a store can be exported again, inspected and shared. If anything fails, nothing
    is written.

    Args:
        path: The file.
        format: ``"ciff"`` or ``"jsonl"``.
        out: The folder of the new store.
        model: The model that computed the vectors, or a store of its vectors. ``None`` if it is unknown; the vocabulary
            then consists of the names in the file.
        scale: The divisor for the weights in the file. For integers it is the number of levels per unit of weight, so
            that ``Quantization(scale)`` gives the same integers again.

    Returns:
        The store.

    Raises:
        PathExistsError: If ``out`` exists.
        FileNotFoundError: If there is no such file.
        SettingError: If the format is unknown, or ``scale`` is not positive.
        DataError: If the file is damaged, has no documents, repeats a docno, or contains a latent that the model does
            not have.

    Examples:
        >>> vectors = {"docno": "d1", "vector": {"cat": 120, "kitten": 45}}
        >>> _ = Path("docs.jsonl").write_text(json.dumps(vectors))
        >>> store = import_vectors("docs.jsonl", "jsonl", "vectors", scale=100)
        >>> next(store.get_corpus_iter())["toks"].keys()
        dict_keys(['cat', 'kitten'])
        >>> index = ConceptIndexer(store, "concepts.exact", "exact").index(store)
    """
    if format not in _READERS:
        raise SettingError(f"vectors can be imported from {' or '.join(map(repr, _READERS))}, not {format!r}")
    if not (np.isfinite(scale) and scale > 0):
        raise SettingError(f"scale must be a positive number of levels per unit of weight, not {scale!r}")
    path, out = Path(path), Path(out)
    require_new(out)
    reader = _READERS[format]
    if model is None:
        names = reader.terms(path)
        model = _UnknownModel(path.name, Terms(len(names), names))
    with replacing(out, lambda: require_new(out)) as made:
        scratch = made.with_name(f"{made.name}.scratch")
        for folder in (scratch, made):
            folder.mkdir()
        batches = reader.read(path, model.terms, scratch)
        write_store(model, _divided(batches, scale), made)
    return StoredVectors(out)


@dataclass(frozen=True)
class _UnknownModel:
    """Stands in for the unknown model that computed a file of vectors. Only its vocabulary is known."""

    name: str
    terms: Terms
    weighting: Weighting = "none"

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.terms.pieces).encode()).hexdigest()

    def __str__(self) -> str:
        return self.name


def _divided(batches: _Batches, scale: float) -> _Batches:
    for docnos, vectors in batches:
        yield docnos, replace(vectors, weights=(vectors.weights / scale).astype(np.float32))
