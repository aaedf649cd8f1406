"""What the examples of the docstrings are about.

A fixture whose name is free in an example is its variable; one called ``my_…`` is the folder ``"my-…"`` that it names.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade import ColbertModel, Lexicon, SaeSplade, encode_corpus, evaluate
from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.engines import ConceptIndex
from pyterrier_saesplade.evaluation import ArtifactCache, Corpus
from pyterrier_saesplade.evaluation.systems.anserini import AnseriniWords
from pyterrier_saesplade.store import StoredVectors

TEXTS = [
    "The river bank was covered with reeds and mud.",
    "The bank raised its interest rates for loans.",
    "Cats sleep for most of the day.",
    "A kitten is a young cat.",
    "Dogs are loyal animals that guard the house.",
    "Solar panels turn sunlight into electricity.",
    "Wind turbines produce electricity from moving air.",
    "The central bank controls the supply of money.",
    "A loan from a credit union costs less interest.",
    "Fishermen sat on the bank of the river.",
    "Young dogs are called puppies.",
    "Electricity from the sun needs no fuel.",
]
QUERIES = ["river bank", "young cat", "interest on a loan", "electricity from sunlight"]
RELEVANT = [("q1", "d1"), ("q1", "d10"), ("q2", "d4"), ("q3", "d2"), ("q3", "d9"), ("q4", "d6"), ("q4", "d12")]

Documents = list[dict[str, str]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session keeps what examples share."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="session")
def documents() -> Documents:
    return [{"docno": f"d{number}", "text": text} for number, text in enumerate(TEXTS, start=1)]


@pytest.fixture(scope="session")
def topics() -> pd.DataFrame:
    return pd.DataFrame({"qid": [f"q{number}" for number in range(1, 5)], "query": QUERIES})


@pytest.fixture(scope="session")
def qrels() -> pd.DataFrame:
    return pd.DataFrame(RELEVANT, columns=["qid", "docno"]).assign(label=1)


@pytest.fixture(scope="session")
def my_collection(folder: Path, documents: Documents, topics: pd.DataFrame, qrels: pd.DataFrame) -> Path:
    """It has a further query set, ``train``, of the same queries."""
    path = folder / "my-collection"
    write_collection(path, documents, topics, qrels)
    (path / "train").mkdir()
    for name in ("queries.tsv", "qrels.txt"):
        (path / "train" / name).write_text((path / name).read_text())
    return path


@pytest.fixture(scope="session")
def collection(my_collection: Path) -> Collection:
    return open_collection(my_collection)


@pytest.fixture(scope="session")
def dataset(collection: Collection, as_dataset: Callable[[Collection], Any]) -> Any:
    return as_dataset(collection)


@pytest.fixture(scope="session")
def my_suite(folder: Path, my_collection: Path) -> Path:
    """A folder of one collection."""
    path = folder / "my-suite"
    path.mkdir()
    (path / "animals").symlink_to(my_collection)
    return path


@pytest.fixture(scope="session")
def my_model(random_model_path: Path) -> Path:
    return random_model_path


@pytest.fixture(scope="session")
def model(my_model: Path) -> SaeSplade:
    return SaeSplade.from_pretrained(my_model)


@pytest.fixture(scope="session")
def splade(splade_path: Path) -> SaeSplade:
    return SaeSplade.from_splade(splade_path)


@pytest.fixture(scope="session")
def my_vectors(folder: Path, model: SaeSplade, dataset: Any) -> Path:
    encode_corpus(model, dataset, folder / "my-vectors")
    return folder / "my-vectors"


@pytest.fixture(scope="session")
def store(my_vectors: Path) -> StoredVectors:
    return StoredVectors(my_vectors)


@pytest.fixture(scope="session")
def index(folder: Path, model: SaeSplade, documents: Documents) -> ConceptIndex:
    """Of the exact engine, which needs no Java."""
    return model.indexer(folder / "my-index", "exact").index(documents)


@pytest.fixture(scope="session")
def my_index(index: ConceptIndex) -> Path:
    return Path(str(index.path))


@pytest.fixture(scope="session")
def lexicon(model: SaeSplade, documents: Documents) -> Lexicon:
    return Lexicon.build(model, documents)


@pytest.fixture(scope="session")
def bm25(folder: Path, documents: Documents) -> pt.Transformer:
    words = pt.terrier.TerrierIndex(str(folder / "words.terrier"))
    words.index(documents)
    return words.bm25()


@pytest.fixture(scope="session")
def my_comparison(folder: Path, model: SaeSplade, collection: Collection) -> Path:
    evaluate(collection, model, folder / "my-comparison", baselines=["bm25"], measures=["nDCG@10"])
    return folder / "my-comparison"


@pytest.fixture(scope="session")
def my_lucene_index(folder: Path, collection: Collection) -> Path:
    """Anserini's index of the words."""
    AnseriniWords().build(ArtifactCache(Corpus.read(collection), folder), folder / "my-lucene-index")
    return folder / "my-lucene-index"


@pytest.fixture(scope="session")
def colbert(colbert_path: Path) -> ColbertModel:
    return ColbertModel(colbert_path, device="cpu")


@pytest.fixture(scope="session")
def my_plaid(folder: Path, colbert: ColbertModel, documents: Documents) -> Path:
    colbert.indexer(folder / "my-plaid").index(documents)
    return folder / "my-plaid"
