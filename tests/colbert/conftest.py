"""A ColBERT model that is not trained."""

from pathlib import Path

import pytest

from pyterrier_saesplade.baselines import ColbertModel


@pytest.fixture(scope="session")
def checkpoint(colbert_path: Path) -> Path:
    return colbert_path


@pytest.fixture(scope="session")
def model(colbert_path: Path) -> ColbertModel:
    return ColbertModel(colbert_path, device="cpu")
