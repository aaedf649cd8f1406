"""A ColBERT checkpoint without training: MiniLM's token states, projected at random."""

from pathlib import Path

import pytest
import torch
from pylate.models import ColBERT

from pyterrier_saesplade.baselines import ColbertModel


@pytest.fixture(scope="session")
def checkpoint(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that PyLate saved; 128 orthogonal directions nearly keep the cosines of 384 dimensions."""
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


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> ColbertModel:
    return ColbertModel(checkpoint, device="cpu")
