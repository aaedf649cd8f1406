"""The transformer under the head, cut down to what gives the token states."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel

from pyterrier_saesplade.errors import ModelError, PathNotFoundError

Layer = int | Literal["last", "h"]


def check_encoder(name_or_path: str) -> None:
    """Makes sure that there is an encoder, from its description alone.

    Raises:
        FileNotFoundError: If there is none.
    """
    if (Path(name_or_path) / "modules.json").is_file():
        return  # older ones of sentence-transformers have the rest in a subfolder
    try:
        PreTrainedConfig.get_config_dict(name_or_path)
    except (OSError, ValueError) as error:
        raise PathNotFoundError(
            f"there is no encoder at {name_or_path}: no folder with a config.json, and none on the hub, if that was "
            "reached"
        ) from error


def load_backbone(name_or_path: str | os.PathLike[str], layer: Layer) -> PreTrainedModel:
    """Loads an encoder with its weights and cuts it to ``layer``.

    Args:
        name_or_path: Hub name or folder of any encoder that ``AutoModel`` (for ``"h"``: ``AutoModelForMaskedLM``)
            loads.
        layer: As in :class:`~pyterrier_saesplade.model.SaeSpladeConfig`.

    Raises:
        ValueError: If the encoder has no such layer, or the checkpoint lacks weights that are needed.
    """
    auto = AutoModelForMaskedLM if layer == "h" else AutoModel
    backbone, report = auto.from_pretrained(name_or_path, dtype=torch.float32, output_loading_info=True)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelError(f"{name_or_path} lacks weights of its {type(backbone).__name__}: {', '.join(missing[:5])}")
    return _cut(backbone, layer)


def build_backbone(config: dict[str, Any], layer: Layer) -> PreTrainedModel:
    """Builds the same network without weights, from the configuration of the encoder as it was loaded."""
    settings = dict(config)
    backbone_config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    auto = AutoModelForMaskedLM if layer == "h" else AutoModel
    return _cut(auto.from_config(backbone_config), layer)  # type: ignore[no-untyped-call]


class _States(nn.Identity):
    """Stands where the projection on the vocabulary stood, so that the "logits" are the transform's states."""

    bias: Tensor | None = None


def _cut(backbone: PreTrainedModel, layer: Layer) -> PreTrainedModel:
    if layer == "h":
        backbone.set_output_embeddings(_States())
        # Nothing is left to be tied to the embeddings.
        backbone.config.tie_word_embeddings = False
        backbone.all_tied_weights_keys = {}
        for module in backbone.modules():
            # What lost its bias has nothing to initialise; some releases of transformers (5.3 for one) try, on loading.
            if module._parameters and all(weights is None for weights in module._parameters.values()):
                setattr(module, "_is_hf_initialized", True)  # noqa: B010 (typed as a module)
    elif layer != "last":
        _drop_layers(backbone, layer)
    if getattr(backbone, "pooler", None) is not None:
        # A sentence's single vector: never used here, and parameters without a gradient upset distributed training.
        setattr(backbone, "pooler", None)  # noqa: B010 (typed as a module)
    return backbone


def layers_of(backbone: PreTrainedModel) -> nn.ModuleList:
    """Returns the layers of an encoder, the lowest first.

    Raises:
        ValueError: If it cannot be told which they are.
    """
    depth = backbone.config.num_hidden_layers
    stacks = [module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) == depth]
    if len(stacks) != 1:
        raise ModelError(f"cannot tell which part of {type(backbone).__name__} holds its layers: use all of them")
    return stacks[0]


def above_layers(backbone: PreTrainedModel) -> list[nn.Module]:
    """Returns the parts of a masked language model above its encoder; an encoder alone has none."""
    encoder = backbone.base_model
    return [] if encoder is backbone else [part for part in backbone.children() if part is not encoder]


def _drop_layers(backbone: PreTrainedModel, layer: int) -> None:
    depth = backbone.config.num_hidden_layers
    if not 1 <= layer <= depth:
        raise ModelError(f"this backbone has layers 1 to {depth}: layer {layer} cannot be read")
    del layers_of(backbone)[layer:]
    backbone.config.num_hidden_layers = layer
