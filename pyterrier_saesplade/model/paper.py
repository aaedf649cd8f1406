"""Weights under the names, and in the layout, that the paper's code gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pyterrier_saesplade.errors import ModelError

if TYPE_CHECKING:
    from pyterrier_saesplade.model.modeling import SaeSpladeModel


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads a state dict from a safetensors file, or from one of torch's that holds nothing but tensors."""
    if Path(path).suffix == ".safetensors":
        return load_file(path)
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def settings_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the settings of a model that follow from its weights.

    Raises:
        ValueError: If they hold no sparse autoencoder, or several.
    """
    names = [name for name in weights if _last(name) == "W_enc"]
    if len(names) != 1:
        raise ModelError(f"expected the weights of one sparse autoencoder, found {len(names)} called W_enc")
    found = {_last(name) for name in weights}
    width = weights[names[0]].shape[1]
    return {"width": width, "decoder": "W_dec" in found, "input_norm": "mean_bias" in found}


@torch.no_grad()
def load_weights(model: SaeSpladeModel, weights: Mapping[str, Tensor]) -> None:
    """Puts the paper's weights into a network that was made for them.

    ``W_enc`` is transposed: the authors store it as ``[d, M]``. A backbone is part of the weights if it was fine-tuned;
    then all of it must be there, under names that end as its own do.

    Raises:
        ValueError: If a weight is missing, or has another shape.
    """
    by_last = {_last(name): tensor for name, tensor in weights.items()}
    head = model.head
    for name, own in (("W_enc", head.W_enc), ("b_enc", head.b_enc), ("b_dec", head.b_dec), ("W_dec", head.W_dec)):
        if own is not None:
            _copy(name, own, by_last, transpose=name == "W_enc")
    if "alpha" in by_last:
        model.alpha.copy_(by_last["alpha"].reshape(()))
    if model.config.input_norm:
        _copy("mean_bias", model.mean_bias, by_last)
        _copy("mean_norm", model.mean_norm, by_last)
    tuned = {name: _ending_with(name, weights) for name in model.backbone.state_dict()}
    missing = [name for name, tensor in tuned.items() if tensor is None]
    if len(missing) < len(tuned):
        if missing:
            raise ModelError(f"the weights hold only a part of the backbone: {', '.join(missing[:5])} are missing")
        model.backbone.load_state_dict({name: tensor for name, tensor in tuned.items() if tensor is not None})


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _copy(name: str, own: Tensor, weights: Mapping[str, Tensor], *, transpose: bool = False) -> None:
    if name not in weights:
        raise ModelError(f"the weights lack {name}")
    found = weights[name].T if transpose else weights[name].squeeze()
    if found.shape != own.shape:
        raise ModelError(f"{name} has the shape {list(found.shape)}, not {list(own.shape)}")
    own.copy_(found)


def _ending_with(name: str, weights: Mapping[str, Tensor]) -> Tensor | None:
    return next((tensor for other, tensor in weights.items() if f".{other}".endswith(f".{name}")), None)
