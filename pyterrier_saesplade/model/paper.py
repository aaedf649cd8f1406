"""Reading weights in the format of the paper's code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pyterrier_saesplade.errors import ModelError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from pyterrier_saesplade.model.modeling import SaeSpladeModel


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads a state dict from a safetensors file, or from a torch file that contains only tensors."""
    if Path(path).suffix == ".safetensors":
        return load_file(path)
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def settings_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infers a model's settings from its weights.

    Raises:
        ModelError: If there is not exactly one sparse autoencoder among them.

    Examples:
        >>> settings_of({"W_enc": torch.zeros(8, 64), "W_dec": torch.zeros(64, 8)})
        {'width': 64, 'decoder': True, 'input_norm': False}
    """
    names = [name for name in weights if _last(name) == "W_enc"]
    if len(names) != 1:
        raise ModelError(f"expected the weights of one sparse autoencoder, found {len(names)} called W_enc")
    found = {_last(name) for name in weights}
    width = weights[names[0]].shape[1]
    return {"width": width, "decoder": "W_dec" in found, "input_norm": "mean_bias" in found}


@torch.no_grad()
def load_weights(model: SaeSpladeModel, weights: Mapping[str, Tensor]) -> None:
    """Copies the paper's weights into a network of matching shape.

    ``W_enc`` is transposed, because the authors store it as ``[d, M]``. A fine-tuned backbone is included in the
    weights; it must then be complete, under names that end in those of ``model.backbone``.

    Raises:
        ModelError: If a weight is missing or has the wrong shape.
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
            raise ModelError(f"the weights contain only part of the backbone: {', '.join(missing[:5])} missing")
        model.backbone.load_state_dict({name: tensor for name, tensor in tuned.items() if tensor is not None})


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _copy(name: str, own: Tensor, weights: Mapping[str, Tensor], *, transpose: bool = False) -> None:
    if name not in weights:
        raise ModelError(f"the weights lack {name}")
    found = weights[name].T if transpose else weights[name].squeeze()
    if found.shape != own.shape:
        raise ModelError(f"{name} has shape {list(found.shape)} instead of {list(own.shape)}")
    own.copy_(found)


def _ending_with(name: str, weights: Mapping[str, Tensor]) -> Tensor | None:
    return next((tensor for other, tensor in weights.items() if f".{other}".endswith(f".{name}")), None)
