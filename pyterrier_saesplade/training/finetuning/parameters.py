"""The parameters that are trained, and their learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.errors import MissingPackageError, SettingError
from pyterrier_saesplade.model import SaeSpladeModel, above_layers, layers_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from pyterrier_saesplade.training.config import FinetuneConfig


def choose_parts(model: SaeSpladeModel, config: FinetuneConfig) -> None:
    """Freezes everything that ``config.train`` does not select. ``"lora"`` adds low-rank matrices to the backbone.

    Raises:
        SettingError: If ``config.train`` is a number of layers that the backbone does not have.
        MissingPackageError: If ``config.train`` is ``"lora"`` and peft is not installed.
    """
    frozen_bias = not model.head.b_dec.requires_grad
    model.requires_grad_(True)
    model.head.b_dec.requires_grad_(not frozen_bias)
    if model.query_weights is not None:
        model.query_weights.requires_grad_(config.query_weights == "learned")
    if config.train == "all":
        return
    model.backbone.requires_grad_(False)
    if config.train == "lora":
        model.backbone = _with_lora(model.backbone, config.lora_rank)
    elif isinstance(config.train, int):
        layers = layers_of(model.backbone)
        if config.train > len(layers):
            raise SettingError(f"this backbone has {len(layers)} layers: the last {config.train} cannot be trained")
        for part in [*list(layers)[-config.train :], *above_layers(model.backbone)]:
            part.requires_grad_(True)


def parameter_groups(model: SaeSpladeModel, config: FinetuneConfig) -> list[dict[str, Any]]:
    """Returns the optimiser's groups: a learning rate per part; biases and norms have no weight decay."""
    rates = {
        "head": config.head_learning_rate,
        "alpha": config.alpha_learning_rate,
        "query_weights": config.query_weights_learning_rate,
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.split(".")[0], parameter.dim() > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rates.get(part, config.learning_rate),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in groups.items()
    ]


def merged(backbone: PreTrainedModel) -> PreTrainedModel:
    """Returns a backbone with its low-rank matrices, if it has any, merged into its weights."""
    merge = getattr(backbone, "merge_and_unload", None)
    plain: PreTrainedModel = backbone if merge is None else merge()
    return plain


def _with_lora(backbone: PreTrainedModel, rank: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingPackageError("train='lora' needs peft: pip install 'pyterrier_saesplade[lora]'") from error
    return get_peft_model(backbone, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
