"""A small collection: a latent in every document, empty documents and an empty query among them."""

from pathlib import Path

import pandas as pd
import pytest

from pyterrier_saesplade.collections import Collection, write_collection
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors, encode_corpus, encode_topics

WORDS = ["sparse", "dense", "latent", "query", "index", "term", "corpus", "token", "score", "rank", "naïve", "東京"]
TOPICS = pd.DataFrame({"qid": ["7", "q2", "10"], "query": ["sparse latent", "", "東京 token rank"]})


@pytest.fixture(scope="session")
def model(random_model_path: Path) -> SaeSplade:
    """A random model whose queries are multiplied by latents' idf."""
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
    """The queries, encoded."""
    return encode_topics(model, TOPICS, tmp_path_factory.mktemp("queries") / "queries.parquet")
