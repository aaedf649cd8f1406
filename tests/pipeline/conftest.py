"""A small model, and PyTerrier's own tests of a stage."""

import unittest
from collections.abc import Callable
from pathlib import Path

import pyterrier as pt
import pytest
import torch
from transformers import AutoTokenizer

from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.saesplade import SaeSplade


@pytest.fixture(scope="session")
def model(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> SaeSplade:
    """A random head on the first layer: 2,048 latents, 8 per token, documents cut at 32 word pieces."""
    torch.manual_seed(0)
    network = SaeSpladeModel.from_backbone(minilm_path, layer=1, width=2048, k=8, doc_max_length=32, weighting="idf")
    folder = tmp_path_factory.mktemp("models") / "random"
    Encoder(network, AutoTokenizer.from_pretrained(minilm_path)).save_pretrained(folder)
    return SaeSplade.from_pretrained(folder, precision="float32")


@pytest.fixture
def unloadable(model: SaeSplade, tmp_path: Path) -> SaeSplade:
    """A model with a configuration but without weights: whoever loads it fails."""
    (tmp_path / "config.json").write_bytes((Path(model.source) / "config.json").read_bytes())
    return SaeSplade.from_pretrained(tmp_path)


@pytest.fixture
def check_contract() -> Callable[[pt.Transformer], None]:
    """Runs PyTerrier's own tests on a transformer."""

    def check(transformer: pt.Transformer) -> None:
        case = pt.testing.transformer_test_class(lambda: transformer)
        result = unittest.defaultTestLoader.loadTestsFromTestCase(case).run(unittest.TestResult())
        assert result.testsRun == 2
        assert not result.errors + result.failures

    return check
