"""Models that were trained with the paper's code, and models restricted to their first latents."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pyterrier_saesplade.errors import ModelError, SettingError
from pyterrier_saesplade.model import SaeSpladeModel


@pytest.fixture
def model(splade_path: Path) -> SaeSpladeModel:
    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(splade_path, width=64, k=4, markers=True, decoder=True, input_norm=True)
    for parameter in (model.head.b_enc, model.head.b_dec, model.mean_bias):
        parameter.data.normal_(std=0.1)
    model.alpha.data.fill_(0.7)
    model.mean_norm.fill_(3.0)
    return model


def as_the_paper_stores(model: SaeSpladeModel, *, backbone: bool) -> dict[str, Tensor]:
    head = model.head
    sae = {"W_enc": head.W_enc.T.contiguous(), "b_enc": head.b_enc, "W_dec": head.dictionary, "b_dec": head.b_dec}
    weights = {f"model.sae.{name}": tensor.detach().clone() for name, tensor in sae.items()}
    weights |= {"alpha": model.alpha.detach().reshape(1), "model.mean_bias": model.mean_bias}
    weights["model.mean_norm"] = model.mean_norm.reshape(1)
    if backbone:
        weights |= {f"model.encoder.{name}": 1.5 * tensor for name, tensor in model.backbone.state_dict().items()}
    return weights


@pytest.mark.parametrize("backbone", [False, True])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_models_of_the_papers_code(
    model: SaeSpladeModel, splade_path: Path, tmp_path: Path, backbone: bool, suffix: str
) -> None:
    weights = as_the_paper_stores(model, backbone=backbone)
    file = tmp_path / f"weights.{suffix}"
    torch.save(weights, file) if suffix == "pt" else save_file(weights, file)
    read = SaeSpladeModel.from_paper(file, splade_path, k=4)
    assert (read.config.width, read.config.markers, read.config.input_norm, read.config.decoder) == (
        64,
        True,
        True,
        True,
    )
    for name, tensor in model.state_dict().items():
        scale = 1.5 if backbone and name.startswith("backbone.") else 1.0
        torch.testing.assert_close(read.state_dict()[name], scale * tensor)


def test_weights_that_the_paper_does_not_store(model: SaeSpladeModel, splade_path: Path, tmp_path: Path) -> None:
    whole = as_the_paper_stores(model, backbone=True)
    first = next(name for name in whole if name.startswith("model.encoder"))
    for changes, fact in [
        ({"model.sae.W_enc": None}, r"\b0\b.*W_enc"),
        ({"other.W_enc": whole["model.sae.W_enc"]}, r"\b2\b.*W_enc"),
        ({"model.sae.b_dec": None}, "b_dec"),
        ({"model.sae.b_enc": torch.zeros(3)}, r"b_enc .*\[3\].*\[64\]"),
        ({first: None}, re.escape(first.removeprefix("model.encoder."))),
    ]:
        weights = {name: tensor for name, tensor in (whole | changes).items() if tensor is not None}
        torch.save(weights, tmp_path / "weights.pt")
        with pytest.raises(ModelError, match=fact):
            SaeSpladeModel.from_paper(tmp_path / "weights.pt", splade_path)


def test_pickled_objects_are_not_loaded(splade_path: Path, tmp_path: Path) -> None:
    torch.save({"W_enc": pytest.raises}, tmp_path / "weights.pt")
    with pytest.raises(Exception, match=r"[Ww]eights_only|Unsupported"):
        SaeSpladeModel.from_paper(tmp_path / "weights.pt", splade_path)


def test_the_first_latents_form_a_model(model: SaeSpladeModel) -> None:
    ids, mask = torch.tensor([[101, 2054, 2003, 102]]), torch.ones(1, 4, dtype=torch.long)
    states = model.token_states(ids, mask)
    expected = model.head.W_enc[:16].clone()
    model.narrow(16)
    assert model.config.width == 16
    assert torch.equal(model.head.W_enc, expected)
    assert len(model.head.dictionary) == len(model.head.b_enc) == 16
    pooled = model.pool(states, [0, 4], 4)
    assert pooled.latents.max() < 16
    dense = torch.relu((states - model.head.b_dec) @ expected.T + model.head.b_enc)
    best = torch.zeros_like(dense).scatter(1, dense.topk(4).indices, dense.topk(4).values).amax(0)
    assert torch.equal(pooled.latents, best.nonzero().squeeze(1))
    with pytest.raises(SettingError, match=r"width .*\b1\b.*\b16\b.*\b17\b"):
        model.narrow(17)
    with pytest.raises(SettingError, match=r"\bk\b.*\b1\b.*\b3\b.*\b4\b"):
        model.narrow(3)
