"""Stores of vectors made by hand, including unusual ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyterrier_saesplade.impacts import Terms
from pyterrier_saesplade.store import StoredVectors, write_store
from pyterrier_saesplade.types import Weighting
from pyterrier_saesplade.vectors import ConceptVectors

MakeStore = Callable[..., StoredVectors]


@dataclass(frozen=True)
class KnownModel:
    """The properties of a model that a store records."""

    terms: Terms
    fingerprint: str = "0123456789abcdef"
    weighting: Weighting = "idf"

    def __str__(self) -> str:
        return "a model"


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Makes a store of rows (latents, weights), a few documents per chunk."""

    def make(rows: list[tuple[Any, Any]], docnos: list[str], terms: Terms, window: int = 3) -> StoredVectors:
        folder = tmp_path / f"store-{len(list(tmp_path.glob('store-*')))}"
        folder.mkdir()
        vectors = ConceptVectors.from_rows(rows)
        numbers = [range(len(rows))[start : start + window] for start in range(0, len(rows), window)]
        write_store(KnownModel(terms), (([docnos[i] for i in part], vectors.take(part)) for part in numbers), folder)
        return StoredVectors(folder)

    return make


@pytest.fixture
def store(make_store: MakeStore) -> StoredVectors:
    """Six documents. One is empty, one becomes empty by quantisation; names have a dot, ``##`` and 東京."""
    rows = [
        ([0, 2, 5], [1.26, 0.3, 7.0]),
        ([], []),
        ([1, 2], [0.1, 25.5]),
        ([4], [0.04]),
        ([2, 3], [25.6, 7000.0]),
        ([0, 1, 2, 3, 4, 5], [1 / 3, 0.5, 0.6, 0.7, 0.8, 0.9]),
    ]
    docnos = ["d0", "empty", "with a blank", "small", "🙂", "d5"]
    return make_store(rows, docnos, Terms(6, ["cat", "##ing", ".", "東京", "c12", "never."]))


@pytest.fixture
def random_store(make_store: MakeStore) -> StoredVectors:
    """300 documents over 50 latents. The first latent is in every document."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        latents = np.unique(np.concatenate([[0], random.integers(0, 50, random.integers(1, 20))]))
        rows.append((latents, random.gamma(1, 3, len(latents)) + 0.06))
    return make_store(rows, [f"doc{i}" for i in range(300)], Terms(50), window=100)


@pytest.fixture
def content() -> Callable[[StoredVectors], list[tuple[str, dict[str, float]]]]:
    """Reads all documents of a store: docno, and weights by name in the order of names."""

    def read(store: StoredVectors) -> list[tuple[str, dict[str, float]]]:
        return [(document["docno"], dict(sorted(document["toks"].items()))) for document in store.get_corpus_iter()]

    return read
