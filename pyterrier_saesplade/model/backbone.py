"""The transformer below the head, truncated to the part that computes token states."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel

from pyterrier_saesplade.errors import ModelError, PathNotFoundError, SettingError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

Layer = int | Literal["last", "h"]


def check_encoder(name_or_path: str) -> None:
    """Checks that an encoder exists, without loading its weights.

    Raises:
        PathNotFoundError: If it does not exist.

    Examples:
        >>> check_encoder("./missing")
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.PathNotFoundError: there is no encoder at ./missing: ...
    """
    if (Path(name_or_path) / "modules.json").is_file():
        return  # older sentence-transformers models keep config.json in a subfolder
    try:
        PreTrainedConfig.get_config_dict(name_or_path)
    except (OSError, ValueError) as error:
        raise PathNotFoundError(
            f"there is no encoder at {name_or_path}: give a folder with a config.json or the name of a model on the "
            "hub, and check that the hub can be reached"
        ) from error


@contextmanager
def loading(name_or_path: str | os.PathLike[str]) -> Iterator[None]:
    """Raises a :exc:`ModelError` if the files of a model are missing or damaged, or cannot be downloaded.

    Examples:
        >>> with loading("my-model"):
        ...     raise OSError("no file named model.safetensors")
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.ModelError: the model my-model cannot be loaded: no file named model.safetensors
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the model {name_or_path} cannot be loaded: {error}") from error


def load_backbone(name_or_path: str | os.PathLike[str], layer: Layer) -> PreTrainedModel:
    """Loads an encoder with its weights and truncates it to ``layer``.

    Args:
        name_or_path: Hub name or folder of any encoder that ``AutoModel`` (for ``"h"``: ``AutoModelForMaskedLM``)
            loads.
        layer: As in :class:`~pyterrier_saesplade.model.SaeSpladeConfig`.

    Raises:
        ModelError: If the checkpoint cannot be loaded or lacks weights that are needed, or its layers cannot be
            identified.
        SettingError: If the encoder has no such layer.
    """
    auto = AutoModelForMaskedLM if layer == "h" else AutoModel
    with loading(name_or_path):
        backbone, report = auto.from_pretrained(name_or_path, dtype=torch.float32, output_loading_info=True)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelError(f"{name_or_path} lacks weights of its {type(backbone).__name__}: {', '.join(missing[:5])}")
    return _cut(backbone, layer)


def build_backbone(config: dict[str, Any], layer: Layer) -> PreTrainedModel:
    """Builds the same network from the configuration of the loaded encoder, without loading weights."""
    settings = dict(config)
    backbone_config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    auto = AutoModelForMaskedLM if layer == "h" else AutoModel
    return _cut(auto.from_config(backbone_config), layer)  # type: ignore[no-untyped-call]


class _States(nn.Identity):
    """Replaces the vocabulary projection, so that the "logits" are the output of the transform."""

    bias: Tensor | None = None


def _cut(backbone: PreTrainedModel, layer: Layer) -> PreTrainedModel:
    if layer == "h":
        backbone.set_output_embeddings(_States())
        # The projection that was tied to the embeddings is gone.
        backbone.config.tie_word_embeddings = False
        backbone.all_tied_weights_keys = {}
        for module in backbone.modules():
            # Some releases of transformers (such as 5.3) try to initialise modules without weights on loading.
            if module._parameters and all(weights is None for weights in module._parameters.values()):
                setattr(module, "_is_hf_initialized", True)  # noqa: B010 (typed as a module)
    elif layer != "last":
        _drop_layers(backbone, layer)
    if getattr(backbone, "pooler", None) is not None:
        # The pooler is never used, and distributed training fails on parameters without a gradient.
        setattr(backbone, "pooler", None)  # noqa: B010 (typed as a module)
    return backbone


def layers_of(backbone: PreTrainedModel) -> nn.ModuleList:
    """Returns the layers of an encoder, from the bottom up.

    Raises:
        ModelError: If the layers cannot be identified.
    """
    depth = backbone.config.num_hidden_layers
    stacks = [module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) == depth]
    if len(stacks) != 1:
        raise ModelError(f"cannot find the layers of a {type(backbone).__name__}: use layer='last' and train all of it")
    return stacks[0]


def above_layers(backbone: PreTrainedModel) -> list[nn.Module]:
    """Returns the modules of a masked language model above its encoder; none for a bare encoder."""
    encoder = backbone.base_model
    return [] if encoder is backbone else [part for part in backbone.children() if part is not encoder]


def _drop_layers(backbone: PreTrainedModel, layer: int) -> None:
    depth = backbone.config.num_hidden_layers
    if not 1 <= layer <= depth:
        raise SettingError(f"this backbone has layers 1 to {depth}: layer {layer} does not exist")
    del layers_of(backbone)[layer:]
    backbone.config.num_hidden_layers = layer
