"""A small model, and one whose weights are missing."""

from pathlib import Path

import pytest

from pyterrier_saesplade.saesplade import SaeSplade


@pytest.fixture(scope="session")
def model(random_model_path: Path) -> SaeSplade:
    return SaeSplade.from_pretrained(random_model_path, precision="float32")


@pytest.fixture
def unloadable(model: SaeSplade, tmp_path: Path) -> SaeSplade:
    """A model with a configuration but without weights, so that loading it fails."""
    (tmp_path / "config.json").write_bytes((Path(model.source) / "config.json").read_bytes())
    return SaeSplade.from_pretrained(tmp_path)
