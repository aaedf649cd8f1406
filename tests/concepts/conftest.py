"""A model of 2,048 latents, and a collection with repetitive texts."""

from pathlib import Path

import pytest

from pyterrier_saesplade.saesplade import SaeSplade

Documents = list[dict[str, str]]


@pytest.fixture(scope="session")
def documents(numpy_documents: Documents) -> Documents:
    return numpy_documents[:80]


@pytest.fixture(scope="session")
def model(random_model_path: Path) -> SaeSplade:
    """A model with a random head, which weights queries by idf."""
    return SaeSplade.from_pretrained(random_model_path)


@pytest.fixture(scope="session")
def splade(splade_path: Path) -> SaeSplade:
    return SaeSplade.from_splade(splade_path, doc_max_length=32)
