"""A small corpus that includes empty documents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyterrier_saesplade.saesplade import SaeSplade

WORDS = ["sparse", "dense", "latent", "query", "index", "term", "corpus", "token", "score", "rank", "naïve", "東京"]


class SmallCorpus:
    """Documents that can be read several times, also in another process."""

    def __init__(self, documents: int = 50) -> None:
        self.documents = documents

    def get_corpus_iter(self) -> Iterator[dict[str, Any]]:
        for number in range(self.documents):
            text = " ".join(WORDS[(number * step) % 12] for step in range(1, 2 + number % 9))
            yield {"docno": f"d{number}", "text": None if number == 3 else "" if number == 7 else text}


@pytest.fixture(scope="session")
def model(random_model_path: Path) -> SaeSplade:
    return SaeSplade.from_pretrained(random_model_path, precision="float32")


@pytest.fixture
def corpus() -> SmallCorpus:
    return SmallCorpus()
