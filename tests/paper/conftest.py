"""A small collection of generated texts, for runs of the paper's commands and settings."""

import random
from collections.abc import Iterator

import pandas as pd
import pytest

from pyterrier_saesplade.collections import Collection, write_collection

WORDS = ["array", "bias", "concept", "corpus", "dense", "index", "latent", "matrix", "order", "query", "rank", "score"]


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """120 documents of 30 words, and 40 queries that are the first words of one document each."""
    draw = random.Random(0)
    documents = [{"docno": f"d{i}", "text": " ".join(draw.choices(WORDS, k=30))} for i in range(120)]
    qids = [f"q{i}" for i in range(40)]
    queries = [" ".join(document["text"].split()[:5]) for document in documents[:40]]
    return write_collection(
        tmp_path_factory.mktemp("collections") / "generated",
        documents,
        pd.DataFrame({"qid": qids, "query": queries}),
        pd.DataFrame({"qid": qids, "docno": [f"d{i}" for i in range(40)], "label": 1}),
    )


@pytest.fixture(scope="session", autouse=True)
def _data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps cached training data in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
