"""A collection encoded once, and its indexes."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pyterrier_saesplade.collections import Collection, open_collection
from pyterrier_saesplade.engines import ENGINES, ConceptIndex
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

Corpus = tuple[list[str], ConceptVectors]

#: Every engine as a parameter of tests. Those that start Java are slow.
EVERY_ENGINE = [
    pytest.param(engine, marks=pytest.mark.slow) if engine in ("terrier", "anserini") else engine for engine in ENGINES
]


@pytest.fixture(scope="session")
def model(random_model_path: Path) -> SaeSplade:
    return SaeSplade.from_pretrained(random_model_path)


@pytest.fixture(scope="session")
def splade(splade_path: Path) -> SaeSplade:
    """A SPLADE checkpoint. Its pseudo-terms are word pieces."""
    return SaeSplade.from_splade(splade_path, k=4, doc_max_length=32)


@pytest.fixture(scope="session")
def collection(collection_folder: Callable[[str], Path]) -> Collection:
    return open_collection(collection_folder("vaswani"))


@pytest.fixture(scope="session")
def topics(collection: Collection) -> pd.DataFrame:
    return collection.topics()


@pytest.fixture(scope="session")
def corpus(model: SaeSplade, collection: Collection) -> Corpus:
    """The docnos and the concept vectors of all documents."""
    documents = list(collection.get_corpus_iter())
    return [document["docno"] for document in documents], model.encode([document["text"] for document in documents])


@pytest.fixture(scope="session")
def terrier(model: SaeSplade, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> ConceptIndex:
    return model.indexer(tmp_path_factory.mktemp("indexes") / "terrier").index_vectors([corpus])


@pytest.fixture(scope="session")
def exact(model: SaeSplade, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> ConceptIndex:
    """The exact engine over the same integers as Terrier, indexed in several chunks."""
    docnos, vectors = corpus
    chunks = [
        (docnos[i : i + 1000], vectors.take(range(len(docnos))[i : i + 1000])) for i in range(0, len(docnos), 1000)
    ]
    indexer = model.indexer(tmp_path_factory.mktemp("indexes") / "exact", "exact", quantization=Quantization())
    return indexer.index_vectors(chunks)


@pytest.fixture(scope="session")
def floats(model: SaeSplade, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> ConceptIndex:
    """The exact engine over floats."""
    return model.indexer(tmp_path_factory.mktemp("indexes") / "floats", "exact").index_vectors([corpus])
