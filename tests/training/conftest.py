"""A small real backbone and corpus."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.evaluation.collections import open_collection
from pyterrier_saesplade.model import SaeSpladeModel


@pytest.fixture(scope="session")
def documents(collection_folder: Callable[[str], Path]) -> list[dict[str, str]]:
    """The first 300 documents of Vaswani."""
    corpus = open_collection(str(collection_folder("vaswani"))).get_corpus_iter()
    return list(itertools.islice(corpus, 300))


@pytest.fixture(scope="session")
def encoder(splade_path: Path) -> Encoder:
    """The 4.4M backbone with an untrained SAE on its last layer."""
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(splade_path, width=256, k=4, doc_max_length=32, decoder=True)
    return Encoder(model, AutoTokenizer.from_pretrained(splade_path), precision="float32")
