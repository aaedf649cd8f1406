"""A small collection with a latent that all texts have, empty documents and an empty query."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pyterrier_saesplade.collections import Collection, write_collection
from pyterrier_saesplade.engines.java import ALL_ENGINES, find_java
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors, encode_corpus, encode_topics

from .commands import Worker

WORDS = ["sparse", "dense", "latent", "query", "index", "term", "corpus", "token", "score", "rank", "naïve", "東京"]
TOPICS = pd.DataFrame({"qid": ["7", "q2", "10"], "query": ["sparse latent", "", "東京 token rank"]})


@pytest.fixture(scope="session")
def model(random_model_path: Path) -> SaeSplade:
    """A random model, which multiplies queries by the idf of their latents."""
    return SaeSplade.from_pretrained(random_model_path)


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    texts = [" ".join(WORDS[(i * step) % 12] for i in range(1, 2 + step % 9)) for step in range(1, 60)]
    documents = [{"docno": f"d{i}", "text": "" if i in (3, 7) else text} for i, text in enumerate(texts)]
    documents.append({"docno": "é𝄞", "text": "sparse latent"})
    qrels = pd.DataFrame({"qid": ["7"], "docno": ["d1"], "label": [1]})
    return write_collection(tmp_path_factory.mktemp("collections") / "words", documents, TOPICS, qrels)


@pytest.fixture(scope="session")
def store(model: SaeSplade, collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> StoredVectors:
    encoded = encode_corpus(model, collection, tmp_path_factory.mktemp("stores") / "store")
    assert encoded is not None
    return encoded


@pytest.fixture(scope="session")
def queries(model: SaeSplade, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoded queries."""
    return encode_topics(model, TOPICS, tmp_path_factory.mktemp("queries") / "queries.parquet")


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Runs the commands of this package. They find Java themselves."""
    worker = Worker(tmp_path_factory.mktemp("logs") / "bridge.log")
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Runs Pyserini's own commands. They need to be told which Java to use."""
    java_home = str(find_java(ALL_ENGINES).path)
    worker = Worker(tmp_path_factory.mktemp("logs") / "stock.log", stock=True, java_home=java_home)
    yield worker
    worker.close()
