"""The settings of pre-training and of fine-tuning."""

from __future__ import annotations

import dataclasses
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.settings import make_settings, read_yaml, settings_class
from pyterrier_saesplade.types import Precision

if TYPE_CHECKING:
    import os

#: A length in word pieces: at least two special tokens, a marker and one word piece of the text.
_Length = Annotated[int, Field(ge=4)]

#: Where a Matryoshka dictionary is cut by default, in 32nds of its width. With the paper's 2^16 latents this gives
#: 2048, 6144, 14336, 30720 and 65536.
_CUTS = (1, 3, 7, 15, 32)


class _Stage:
    """Base class of the settings of both stages, which reads them from YAML and changes some of them.

    A file has one section for each stage that it configures. It may name a base, which is another file in its folder.
    Then it holds only what differs from the base::

        base: main.yaml
        pretrain:
          width: 32768
    """

    #: The name of this stage's section in a file.
    _STAGE: ClassVar[str]

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Reads the section of this stage from a YAML file.

        Args:
            path: The file.
            **overrides: Settings that take precedence over those in the file.

        Raises:
            PathNotFoundError: If the file or its base does not exist.
            SettingError: If the file is not valid YAML or has no such section, or a setting is unknown or not allowed.

        Examples:
            >>> _ = Path("small.yaml").write_text("pretrain: {width: 1024, k: 4}")
            >>> config = PretrainConfig.from_yaml("small.yaml", k=6)
            >>> config.width, config.k
            (1024, 6)
        """
        files = _with_bases(Path(path))
        sections = [section for file in files.values() if (section := getattr(file, cls._STAGE)) is not None]
        if not sections:
            raise SettingError(f"{path} has no section '{cls._STAGE}:' with settings, one 'name: value' per line")
        return make_settings(cls, ChainMap(overrides, *sections), ", based on ".join(map(str, files)))

    def changed(self, settings: Mapping[str, Any], *, where: str) -> Self:
        """Returns a copy with some settings changed.

        Args:
            settings: The new values by name.
            where: Where they come from, for error messages.

        Raises:
            SettingError: If a setting is unknown or not allowed.

        Examples:
            >>> PretrainConfig().changed({"k": 4}, where="--set").k
            4
        """
        return make_settings(type(self), vars(self) | dict(settings), where)


@settings_class
class PretrainConfig(_Stage):
    """How an SAE is trained on the token states of a corpus (paper, section 3.1).

    The defaults suit a laptop and take minutes on two cores. ``examples/paper/main.yaml`` has the paper's settings.
    All settings are keyword arguments.

    Attributes:
        width: Number of latents, M.
        k: Number of activations kept per token (k_SAE).
        variant: What reconstructs a token. ``"topk"``: its ``k`` strongest activations. ``"hierarchical"``: its ``j``
            strongest activations, for every ``j`` up to ``k``, so that one SAE also serves every smaller k.
            ``"matryoshka"``: the first latents, for each of ``prefixes``, so that each prefix is a smaller dictionary.
        prefixes: Sizes at which a Matryoshka dictionary is cut: numbers of latents in ascending order, ending with
            ``width``. ``None``: 1/32, 3/32, 7/32, 15/32 and all of ``width``, as in the paper.
        layer: Which token states are read: ``"last"``, the number of a layer, or ``"h"``.
        markers: Whether to prepend the paper's ``[Q]`` and ``[D]`` markers. Leave this off for a backbone that was not
            trained with them.
        query_marker: The word piece that marks queries.
        doc_marker: The word piece that marks documents.
        doc_max_length: Documents are truncated to this many word pieces.
        query_max_length: Queries are truncated to this many word pieces.
        input_norm: Whether token states are centred, then divided by their mean norm.
        init: How the dictionary is initialised. ``"data"``: with token states of the corpus, which leaves few latents
            dead. ``"linear"``: like :class:`torch.nn.Linear`, as in the paper.
        steps: Number of optimiser steps. With 0 the SAE keeps its initial weights; together with ``init="linear"``
            this is the paper's random baseline.
        batch_tokens: Token states per step, summed over all processes.
        batch_documents: If given, each step takes all tokens of this many documents instead.
        learning_rate: Learning rate of AdamW.
        schedule: The learning rate after the warm-up: ``"linear"`` decay to 0, or ``"constant"``.
        warmup_steps: Steps of linear warm-up.
        adam_epsilon: AdamW's epsilon.
        weight_decay: AdamW's weight decay.
        max_grad_norm: Gradients are clipped to this norm.
        aux_weight: Weight of the auxiliary loss, which revives dead latents. The hierarchical variant does not use it.
        normalise_error: Whether the squared error of each token is divided by its squared norm.
        dead_after: A latent is dead after this many tokens without an activation, or after 10 % of the run's tokens if
            that is fewer. With ``batch_documents`` the run's tokens are not known, and only the former applies.
        seed: Seed of all random choices.
        precision: As in :class:`~pyterrier_saesplade.encoding.Encoder`, except that ``"auto"`` also runs the backbone
            in bfloat16 where the device supports it: token states are stored in bfloat16 in any case.
        states_gigabytes: Disk space for token states, in 10^9 bytes. A corpus that fits is encoded once. A larger one
            is encoded in parts of this size, and shuffled within each part.
        log_steps: Steps between two entries of the log.
        eval_steps: Steps between two evaluations on whole documents; 0: evaluate only at the end.
        save_steps: Steps between two checkpoints.
        report_to: Where the Trainer reports in addition to the log, such as ``("tensorboard",)`` or ``("wandb",)``.

    Raises:
        SettingError: If a setting is unknown or not allowed.

    Examples:
        >>> PretrainConfig(width=65536, variant="matryoshka").cuts
        (2048, 6144, 14336, 30720, 65536)
    """

    width: PositiveInt = 16384
    k: PositiveInt = 8
    variant: Literal["topk", "hierarchical", "matryoshka"] = "topk"
    prefixes: Sequence[int] | None = None
    layer: PositiveInt | Literal["last", "h"] = "last"
    markers: bool = False
    query_marker: str = "[unused0]"
    doc_marker: str = "[unused1]"
    doc_max_length: _Length = 128
    query_max_length: _Length = 128
    input_norm: bool = False
    init: Literal["data", "linear"] = "data"
    steps: NonNegativeInt = 250
    batch_tokens: PositiveInt = 4096
    batch_documents: PositiveInt | None = None
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["linear", "constant"] = "linear"
    warmup_steps: NonNegativeInt = 0
    adam_epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    max_grad_norm: NonNegativeFloat = 1.0
    aux_weight: NonNegativeFloat = 1 / 16
    normalise_error: bool = False
    dead_after: PositiveInt = 10_000_000
    seed: NonNegativeInt = 42
    precision: Precision = "auto"
    states_gigabytes: PositiveFloat = 8.0
    log_steps: PositiveInt = 10
    eval_steps: NonNegativeInt = 0
    save_steps: PositiveInt = 100
    report_to: Sequence[str] = ()

    _STAGE: ClassVar[str] = "pretrain"

    def __post_init__(self) -> None:
        if self.k > self.width:
            raise SettingError(f"k must be between 1 and width ({self.width}), not {self.k}")
        if self.prefixes is not None and self.variant != "matryoshka":
            raise SettingError(f"prefixes belong to the variant 'matryoshka', not {self.variant!r}: leave them out")
        cuts = self.cuts
        if list(cuts) != sorted(set(cuts)) or cuts[0] < 1 or cuts[-1] != self.width:
            raise SettingError(f"prefixes must ascend from 1 or more to width ({self.width}), not {list(cuts)}")

    @property
    def cuts(self) -> tuple[int, ...]:
        """Sizes of the dictionary's prefixes that reconstruct tokens; without Matryoshka, only ``width``."""
        if self.variant != "matryoshka":
            return (self.width,)
        return tuple(self.prefixes or (max(1, self.width * cut // _CUTS[-1]) for cut in _CUTS))


@settings_class
class FinetuneConfig(_Stage):
    """How a model is fine-tuned for ranking (paper, section 3.3).

    The defaults suit a laptop and some hundreds of labelled queries. ``examples/paper/main.yaml`` has the paper's
    settings. All settings are keyword arguments.

    Attributes:
        k: Number of activations kept per token from now on (k_SPLADE); a value equal to the width keeps all of them.
            ``None``: the model's.
        width: Number of latents to keep, the first ones of a Matryoshka dictionary; ``None``: all.
        doc_max_length: Documents are truncated to this many word pieces; ``None``: the model's.
        query_max_length: Queries are truncated to this many word pieces; ``None``: the model's.
        markers: Whether to prepend markers to queries and documents; ``None``: as the model does.
        query_marker: The word piece that marks queries; ``None``: the model's.
        doc_marker: The word piece that marks documents; ``None``: the model's.
        alpha: Initial value of the factor that scales all weights, unless it is calibrated; ``None``: the model's.
        query_weights: A factor per latent that multiplies its weights in queries. ``"none"``: no such factor.
            ``"idf"``: the idf of the latent in the training passages, fixed. ``"learned"``: initialised with the idf
            and trained. These factors are part of the model, whereas a model that was not fine-tuned relies on the idf
            that an index supplies.
        dropout: Dropout of the backbone, below 1; ``None``: as in its configuration.
        train: What is trained. ``"all"``: everything. ``"head"``: the head; the backbone is frozen, and encodes each
            query and passage only once. ``"lora"``: the head and low-rank additions to the backbone (extra ``lora``).
            A number: the head and this many layers of the backbone, counted from the last.
        lora_rank: Rank of the low-rank additions.
        kl_weight: Weight of the KL divergence from the teacher's scores; ignored if the data has no scores.
        margin_mse_weight: Weight of the squared error of the teacher's margins; ignored if the data has no scores.
        contrastive_weight: Weight of InfoNCE, the positive against the other passages; ``None``: 0 if the data has a
            teacher's scores, else 1.
        in_batch_negatives: Whether InfoNCE also takes the passages of the other queries in the batch as negatives.
            Only queries of the same process count. ``None``: only if the data has no scores.
        doc_flops: Weight of the FLOPS penalty on passages, lambda_d.
        query_flops: Weight of the FLOPS penalty on queries, lambda_q.
        flops_warmup_steps: Steps over which both FLOPS weights grow quadratically to their full value.
        reconstruction_weight: Weight of the SAE's reconstruction error, for joint training; the model needs its
            decoder.
        calibrate: Whether to set ``alpha`` before the first step, so that the scores of a query's passages have the
            same standard deviation as the teacher's scores, or 1 if there is no teacher.
        nway: Passages per query in a step: one positive, and others drawn at random from the query's candidates.
        batch_queries: Queries per step, summed over all processes.
        batch_tokens: Word pieces in one forward pass of the backbone, padding included.
        gradient_checkpointing: Whether to keep the activations of only ``batch_tokens`` word pieces at a time, and to
            recompute the others in the backward pass. This takes less memory and a third more time; the loss is the
            same.
        steps: Number of optimiser steps.
        learning_rate: Learning rate of AdamW for the backbone.
        head_learning_rate: Learning rate for the head.
        alpha_learning_rate: Learning rate for ``alpha``.
        query_weights_learning_rate: Learning rate for learned query weights.
        schedule: The learning rates after the warm-up: ``"linear"`` decay to 0, or ``"constant"``.
        warmup_steps: Steps of linear warm-up.
        adam_epsilon: AdamW's epsilon.
        weight_decay: AdamW's weight decay; it applies to matrices only.
        max_grad_norm: Gradients are clipped to this norm.
        seed: Seed of all random choices.
        precision: Number format of the backbone: ``"float32"``, ``"bfloat16"``, ``"float16"`` (GPUs only), or
            ``"auto"``, which is bfloat16 where the device supports it. A frozen backbone always runs in float32, as it
            does when the model is used.
        states_gigabytes: Disk space for the token states of a frozen backbone, in 10^9 bytes.
        eval_steps: Steps between two validations; 0: no validation.
        eval_queries: Number of queries held out for validation, limited to a tenth of all queries; ignored if a
            validation set is given.
        eval_pool: Number of passages that a validation searches: the candidates of its queries, filled up with others
            drawn at random.
        patience: Training stops after this many validations in a row without a better RR@10; ``None``: never.
        use: Which model the output folder opens as: the ``"last"``, as in the paper; the best by RR@10
            (``"best-rr"``); or the best by ΔE, the trade-off of RR@10 with the cost of search (``"best-de"``). The
            others are kept in subfolders.
        log_steps: Steps between two entries of the log.
        save_steps: Steps between two checkpoints.
        workers: Number of processes that prepare batches in advance.
        report_to: Where the Trainer reports in addition to the log, such as ``("tensorboard",)`` or ``("wandb",)``.

    Raises:
        SettingError: If a setting is unknown or not allowed.

    Examples:
        >>> FinetuneConfig(steps=1000, train="head").learning_rate
        3e-05
    """

    k: PositiveInt | None = None
    width: PositiveInt | None = None
    doc_max_length: _Length | None = None
    query_max_length: _Length | None = None
    markers: bool | None = None
    query_marker: str | None = None
    doc_marker: str | None = None
    alpha: PositiveFloat | None = None
    query_weights: Literal["none", "idf", "learned"] = "none"
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
    train: PositiveInt | Literal["all", "head", "lora"] = "all"
    lora_rank: PositiveInt = 16
    kl_weight: NonNegativeFloat = 1.0
    margin_mse_weight: NonNegativeFloat = 0.05
    contrastive_weight: NonNegativeFloat | None = None
    in_batch_negatives: bool | None = None
    doc_flops: NonNegativeFloat = 0.01
    query_flops: NonNegativeFloat = 0.01
    flops_warmup_steps: NonNegativeInt = 75
    reconstruction_weight: NonNegativeFloat = 0.0
    calibrate: bool = True
    nway: Annotated[int, Field(ge=2)] = 4
    batch_queries: PositiveInt = 16
    batch_tokens: PositiveInt = 4096
    gradient_checkpointing: bool = False
    steps: PositiveInt = 250
    learning_rate: NonNegativeFloat = 3e-5
    head_learning_rate: NonNegativeFloat = 3e-4
    alpha_learning_rate: NonNegativeFloat = 1e-2
    query_weights_learning_rate: NonNegativeFloat = 1e-2
    schedule: Literal["linear", "constant"] = "linear"
    warmup_steps: NonNegativeInt = 0
    adam_epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    max_grad_norm: NonNegativeFloat = 1.0
    seed: NonNegativeInt = 42
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    states_gigabytes: PositiveFloat = 8.0
    eval_steps: NonNegativeInt = 0
    eval_queries: PositiveInt = 100
    eval_pool: Annotated[int, Field(ge=2)] = 2000
    patience: PositiveInt | None = None
    use: Literal["last", "best-rr", "best-de"] = "last"
    log_steps: PositiveInt = 10
    save_steps: PositiveInt = 50
    workers: NonNegativeInt = 0
    report_to: Sequence[str] = ()

    _STAGE: ClassVar[str] = "finetune"

    def __post_init__(self) -> None:
        if self.train == "head" and self.reconstruction_weight:
            raise SettingError(
                "joint training (reconstruction_weight above 0) needs a backbone that is trained, not train='head'"
            )
        if self.patience is not None and not self.eval_steps:
            raise SettingError("patience counts validations, but there are none: set eval_steps too")
        if self.use != "last" and not self.eval_steps:
            raise SettingError(f"use={self.use!r} needs validations, but there are none: set eval_steps too")

    def resolved(self, *, scored: bool) -> FinetuneConfig:
        """Returns a copy with all settings filled in that depend on the data.

        Args:
            scored: Whether the data has a teacher's scores.

        Raises:
            SettingError: If the weights of all ranking losses are 0.

        Examples:
            >>> FinetuneConfig().resolved(scored=False).in_batch_negatives
            True
        """
        weight = self.contrastive_weight
        resolved = dataclasses.replace(
            self,
            kl_weight=self.kl_weight if scored else 0.0,
            margin_mse_weight=self.margin_mse_weight if scored else 0.0,
            contrastive_weight=weight if weight is not None else float(not scored),
            in_batch_negatives=not scored if self.in_batch_negatives is None else self.in_batch_negatives,
        )
        if not (resolved.kl_weight or resolved.margin_mse_weight or resolved.contrastive_weight):
            raise SettingError("the weights of all ranking losses are 0: there is nothing to learn")
        return resolved


@settings_class
class _File:
    """The sections of a YAML file."""

    base: str | None = None
    pretrain: dict[str, Any] | None = None
    finetune: dict[str, Any] | None = None


def _with_bases(path: Path) -> dict[Path, _File]:
    """Returns the content of a file, of its base, of the base's base and so on, by path."""
    files: dict[Path, _File] = {}
    while True:
        if path.resolve() in (known.resolve() for known in files):
            raise SettingError(f"{path} is its own base: remove 'base:' from one of {', '.join(map(str, files))}")
        files[path] = file = make_settings(_File, read_yaml(path), str(path))
        if file.base is None:
            return files
        path = path.parent / file.base
