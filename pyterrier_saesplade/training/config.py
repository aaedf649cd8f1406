"""The settings of pre-training and of fine-tuning."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import yaml

from pyterrier_saesplade.checks import require_precision
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.types import Precision

Variant = Literal["topk", "hierarchical", "matryoshka"]
Use = Literal["last", "best-rr", "best-de"]

#: Where a Matryoshka dictionary is cut unless told otherwise, in 32nds of its width: at the paper's 2^16 latents these
#: are 2048, 6144, 14336 and 30720.
_CUTS = (1, 3, 7, 15, 32)


@dataclass(frozen=True)
class _Settings:
    """What the two stages share: how numbers are checked, how YAML is read.

    A file has a section for each stage that it configures, and may name another file, from its own folder, whose
    settings it changes::

        base: main.yaml
        pretrain:
          width: 32768
    """

    #: The section of a file.
    _STAGE: ClassVar[str]
    #: The type of each number, and the least that it can be.
    _LEAST: ClassVar[Mapping[str, tuple[Any, float]]]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            kind, value = str(field.type), getattr(self, field.name)
            if value is None and "None" in kind:
                continue
            if field.name in self._LEAST:
                self._check_number(field.name, value)
            else:
                self._check_type(field.name, kind, value)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Reads this stage's section of a YAML file; ``overrides`` win.

        Raises:
            ValueError: If the file is no YAML, has no such section, a setting is unknown, or a value is impossible.
        """
        settings = _section(Path(path), cls._STAGE)
        if settings is None:
            raise SettingError(f"{path} has no section '{cls._STAGE}:' with settings, one 'name: value' per line")
        return cls().changed(settings | overrides, where=str(path))

    def changed(self, settings: Mapping[str, Any], *, where: str) -> Self:
        """Returns these settings with some changed; ``where`` they come from is named in errors.

        Raises:
            ValueError: If one is unknown, or its value is impossible.
        """
        known = {field.name for field in dataclasses.fields(self)}
        if unknown := sorted(set(settings) - known):
            raise SettingError(f"{where}: unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return dataclasses.replace(self, **settings)

    def _check_number(self, name: str, value: Any) -> None:
        kind, least = self._LEAST[name]
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value < math.inf:
            # YAML reads 5e-5 as a text and 5.0e-5 as a number.
            noun = "a whole number" if kind is int else "a number (in YAML such as 5.0e-5)"
            raise SettingError(f"{name} must be {noun}, at least {least}, not {value!r}")

    @staticmethod
    def _check_type(name: str, kind: str, value: Any) -> None:
        """Checks what a setting is that is no number: YAML, and a shell, give texts where something else was meant."""
        if kind.startswith("bool") and not isinstance(value, bool):
            raise SettingError(f"{name} must be true or false, not {value!r}")
        if kind.startswith("Sequence") and (isinstance(value, str) or not isinstance(value, Sequence)):
            raise SettingError(f"{name} must be a list, such as [{value}], not {value!r}")
        if kind.startswith("str") and not isinstance(value, str):
            raise SettingError(f"{name} must be a text, not {value!r}")

    def _check_one_of(self, name: str, choices: Sequence[str]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise SettingError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")


@dataclass(frozen=True)
class PretrainConfig(_Settings):
    """How an SAE is trained on the token states of a corpus (paper, section 3.1).

    The defaults are for a laptop: minutes on two cores. ``examples/paper/main.yaml`` holds the paper's.

    Attributes:
        width: Number of latents, M.
        k: Activations kept per token (k_SAE).
        variant: ``"topk"``; ``"hierarchical"``: the ``j`` strongest activations of a token reconstruct it for every
            ``j`` up to ``k``, so that one SAE serves every smaller k; ``"matryoshka"``: the first latents do, for each
            of ``prefixes``, so that these are smaller dictionaries.
        prefixes: Where a Matryoshka dictionary is cut: ascending numbers of latents, ``width`` the last. ``None``: at
            1/32, 3/32, 7/32, 15/32 and the whole of it, as the paper does.
        layer: Token states to read: ``"last"``, a layer's number, or ``"h"``.
        markers: Whether texts get the paper's ``[Q]`` and ``[D]`` markers; off for a backbone that never saw them.
        query_marker: The word piece that marks queries.
        doc_marker: The word piece that marks documents.
        doc_max_length: Documents are cut at this many word pieces.
        query_max_length: The same for queries.
        input_norm: Whether token states are centred and scaled by their mean norm.
        init: ``"data"``: the dictionary starts as token states of the corpus, which leaves few latents dead;
            ``"linear"``: as ``nn.Linear``, like the paper.
        steps: Optimiser steps; with 0 the SAE stays as it starts, the paper's random baseline if ``init`` is
            ``"linear"``.
        batch_tokens: Token states per step, over all processes.
        batch_documents: If given, a step takes all tokens of this many documents instead.
        learning_rate: Of AdamW.
        schedule: After the warm-up, ``"linear"`` decay to 0 or ``"constant"``.
        warmup_steps: Steps of linear warm-up.
        adam_epsilon: AdamW's eps.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are clipped at this norm.
        aux_weight: Weight of the auxiliary loss, which revives dead latents; the hierarchical variant has none.
        normalise_error: Whether each token's squared error is divided by its squared norm.
        dead_after: A latent is dead once it has been inactive for this many tokens, or for 10 % of the run's if those
            are fewer (and known: not with ``batch_documents``).
        seed: Of everything random.
        precision: As in :class:`~pyterrier_saesplade.encoding.Encoder`, but that ``"auto"`` runs the backbone in
            bfloat16 too where the device has it: token states are kept in bfloat16 in any case.
        states_gigabytes: Disk that token states may take. A corpus that fits is encoded once; of a larger one, a part
            of this size at a time, shuffled within.
        log_steps: Steps between two entries of the log.
        eval_steps: Steps between two measurements of whole documents; 0: at the end only.
        save_steps: Steps between two checkpoints.
        report_to: Where the Trainer reports beside the log, such as ``("tensorboard",)`` or ``("wandb",)``.
    """

    width: int = 16384
    k: int = 8
    variant: Variant = "topk"
    prefixes: Sequence[int] | None = None
    layer: int | Literal["last", "h"] = "last"
    markers: bool = False
    query_marker: str = "[unused0]"
    doc_marker: str = "[unused1]"
    doc_max_length: int = 128
    query_max_length: int = 128
    input_norm: bool = False
    init: Literal["data", "linear"] = "data"
    steps: int = 250
    batch_tokens: int = 4096
    batch_documents: int | None = None
    learning_rate: float = 1e-3
    schedule: Literal["linear", "constant"] = "linear"
    warmup_steps: int = 0
    adam_epsilon: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    aux_weight: float = 1 / 16
    normalise_error: bool = False
    dead_after: int = 10_000_000
    seed: int = 42
    precision: Precision = "auto"
    states_gigabytes: float = 8.0
    log_steps: int = 10
    eval_steps: int = 0
    save_steps: int = 100
    report_to: Sequence[str] = ()

    _STAGE: ClassVar[str] = "pretrain"
    _LEAST: ClassVar[Mapping[str, tuple[Any, float]]] = {
        **dict.fromkeys(("width", "k", "batch_tokens", "batch_documents", "dead_after"), (int, 1)),
        **dict.fromkeys(("log_steps", "save_steps"), (int, 1)),
        **dict.fromkeys(("steps", "warmup_steps", "eval_steps", "seed"), (int, 0)),
        **dict.fromkeys(("doc_max_length", "query_max_length"), (int, 4)),
        **dict.fromkeys(("learning_rate", "adam_epsilon", "states_gigabytes"), (int | float, 1e-12)),
        **dict.fromkeys(("weight_decay", "max_grad_norm", "aux_weight"), (int | float, 0)),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > self.width:
            raise SettingError(f"k must be between 1 and width ({self.width}), not {self.k}")
        if self.layer not in ("last", "h") and (not isinstance(self.layer, int) or self.layer < 1):
            raise SettingError(f"layer must be 'last', 'h' or the number of a layer, not {self.layer!r}")
        require_precision(self.precision)
        self._check_one_of("init", ("data", "linear"))
        self._check_one_of("schedule", ("linear", "constant"))
        self._check_one_of("variant", get_args(Variant))
        if self.prefixes is not None and self.variant != "matryoshka":
            raise SettingError("prefixes are those of the variant 'matryoshka'")
        cuts = self.cuts
        if list(cuts) != sorted(set(cuts)) or cuts[0] < 1 or cuts[-1] != self.width:
            raise SettingError(f"prefixes must ascend and end with the width, {self.width}, not {list(cuts)}")

    @property
    def cuts(self) -> tuple[int, ...]:
        """The numbers of latents that reconstruct a token on their own; without Matryoshka, all of them."""
        if self.variant != "matryoshka":
            return (self.width,)
        return tuple(self.prefixes or (max(1, self.width * cut // _CUTS[-1]) for cut in _CUTS))


@dataclass(frozen=True)
class FinetuneConfig(_Settings):
    """How a model is fine-tuned for ranking (paper, section 3.3).

    The defaults are for a laptop and some hundreds of labelled queries. ``examples/paper/main.yaml`` holds the paper's.

    Attributes:
        k: Activations kept per token from now on (k_SPLADE); ``None``: as the model has it. The width of the vocabulary
            keeps all.
        width: Latents that are kept, of a Matryoshka dictionary the first; ``None``: all.
        doc_max_length: Documents are cut at this many word pieces; ``None``: as the model has it.
        query_max_length: The same for queries.
        markers: Whether texts get markers; ``None``: as the model has it.
        query_marker: The word piece that marks queries; ``None``: as the model has it.
        doc_marker: The same for documents.
        alpha: The factor of all weights that training begins with, unless it is calibrated; ``None``: the model's.
        query_weights: A factor for each latent that the weights of queries are multiplied by: ``"none"``; ``"idf"``,
            that of the training passages, for good; or ``"learned"``, which begins so. A model that was not fine-tuned
            needs latent idf, and an index gives it; afterwards it is part of the model.
        dropout: Of the backbone; ``None``: as its configuration has it.
        train: ``"all"``; ``"head"``: the backbone is frozen, and each text goes through it once; ``"lora"``: low-rank
            additions to the backbone (extra ``lora``), and the head; or the number of layers of the backbone, counted
            from the last, that are trained with the head.
        lora_rank: The rank of these additions.
        kl_weight: Weight of the divergence from the teacher; with labels alone it does not count.
        margin_mse_weight: Weight of the error of the teacher's margins, likewise.
        contrastive_weight: Weight of InfoNCE, the positive against the others; ``None``: 1 with labels alone, else 0.
        in_batch_negatives: Whether the passages of a batch's other queries are negatives too, in InfoNCE; those of this
            process. ``None``: with labels alone.
        doc_flops: Weight of the FLOPS penalty of passages, lambda_d.
        query_flops: That of queries, lambda_q.
        flops_warmup_steps: Steps over which both weights grow, quadratically.
        reconstruction_weight: Weight of the SAE's reconstruction error, for joint training; the model needs its
            decoder.
        calibrate: Whether ``alpha`` is set before the first step so that the model's scores of a query's passages
            differ as much as the teacher's do, or by a standard deviation of 1 if there is none.
        nway: Passages of a query in a step: a positive, and others drawn at random from its candidates.
        batch_queries: Queries per step, over all processes.
        batch_tokens: Word pieces that go through the backbone at one time, padding included.
        gradient_checkpointing: Whether the activations of only so many word pieces are kept, and computed again when
            they are needed: less memory, a third more time, the same loss.
        steps: Optimiser steps.
        learning_rate: Of AdamW, for the backbone.
        head_learning_rate: For the head.
        alpha_learning_rate: For ``alpha``.
        query_weights_learning_rate: For the learned query weights.
        schedule: After the warm-up, ``"linear"`` decay to 0 or ``"constant"``.
        warmup_steps: Steps of linear warm-up.
        adam_epsilon: AdamW's eps.
        weight_decay: AdamW's, of matrices.
        max_grad_norm: Gradients are clipped at this norm.
        seed: Of everything random.
        precision: Of the backbone: ``"float32"``, ``"bfloat16"``, ``"float16"`` (GPUs), or ``"auto"``: bfloat16 where
            the device has it. A frozen backbone is always run in float32, as it will be when the model is used.
        states_gigabytes: Disk that the token states of a frozen backbone may take.
        eval_steps: Steps between two validations; 0: none.
        eval_queries: Queries that are held out for it, if no others are given.
        eval_pool: Passages that they are searched in: their candidates, and others at random.
        patience: Training stops after so many validations in a row without a better RR@10; ``None``: it never does.
        use: Which model the folder opens as: the ``"last"``, as in the paper, the best by RR@10 (``"best-rr"``) or by
            its trade-off with the cost of search, ΔE (``"best-de"``). The others are kept inside.
        log_steps: Steps between two entries of the log.
        save_steps: Steps between two checkpoints.
        workers: Processes that prepare batches ahead.
        report_to: Where the Trainer reports beside the log, such as ``("tensorboard",)`` or ``("wandb",)``.
    """

    k: int | None = None
    width: int | None = None
    doc_max_length: int | None = None
    query_max_length: int | None = None
    markers: bool | None = None
    query_marker: str | None = None
    doc_marker: str | None = None
    alpha: float | None = None
    query_weights: Literal["none", "idf", "learned"] = "none"
    dropout: float | None = 0.0
    train: Literal["all", "head", "lora"] | int = "all"
    lora_rank: int = 16
    kl_weight: float = 1.0
    margin_mse_weight: float = 0.05
    contrastive_weight: float | None = None
    in_batch_negatives: bool | None = None
    doc_flops: float = 0.01
    query_flops: float = 0.01
    flops_warmup_steps: int = 75
    reconstruction_weight: float = 0.0
    calibrate: bool = True
    nway: int = 4
    batch_queries: int = 16
    batch_tokens: int = 4096
    gradient_checkpointing: bool = False
    steps: int = 250
    learning_rate: float = 3e-5
    head_learning_rate: float = 3e-4
    alpha_learning_rate: float = 1e-2
    query_weights_learning_rate: float = 1e-2
    schedule: Literal["linear", "constant"] = "linear"
    warmup_steps: int = 0
    adam_epsilon: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 42
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    states_gigabytes: float = 8.0
    eval_steps: int = 0
    eval_queries: int = 100
    eval_pool: int = 2000
    patience: int | None = None
    use: Use = "last"
    log_steps: int = 10
    save_steps: int = 50
    workers: int = 0
    report_to: Sequence[str] = ()

    _STAGE: ClassVar[str] = "finetune"
    _LEAST: ClassVar[Mapping[str, tuple[Any, float]]] = {
        **dict.fromkeys(("k", "width", "lora_rank", "batch_queries", "batch_tokens", "steps", "patience"), (int, 1)),
        **dict.fromkeys(("eval_queries", "log_steps", "save_steps"), (int, 1)),
        **dict.fromkeys(("flops_warmup_steps", "warmup_steps", "eval_steps", "seed", "workers"), (int, 0)),
        **dict.fromkeys(("nway", "eval_pool"), (int, 2)),
        **dict.fromkeys(("doc_max_length", "query_max_length"), (int, 4)),
        **dict.fromkeys(("dropout", "kl_weight", "margin_mse_weight", "contrastive_weight"), (int | float, 0)),
        **dict.fromkeys(("doc_flops", "query_flops", "reconstruction_weight"), (int | float, 0)),
        **dict.fromkeys(("learning_rate", "head_learning_rate", "alpha_learning_rate"), (int | float, 0)),
        **dict.fromkeys(("query_weights_learning_rate", "weight_decay", "max_grad_norm"), (int | float, 0)),
        **dict.fromkeys(("alpha", "adam_epsilon", "states_gigabytes"), (int | float, 1e-12)),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_one_of("query_weights", ("none", "idf", "learned"))
        self._check_one_of("schedule", ("linear", "constant"))
        self._check_one_of("use", get_args(Use))
        self._check_one_of("precision", ("auto", "float32", "bfloat16", "float16"))
        if self.dropout is not None and self.dropout >= 1:
            raise SettingError(f"dropout must be a share below 1, not {self.dropout}")
        is_number = isinstance(self.train, int) and not isinstance(self.train, bool)
        if self.train not in ("all", "head", "lora") and not (is_number and int(self.train) > 0):
            raise SettingError(f"train must be 'all', 'head', 'lora' or a number of layers, not {self.train!r}")
        if self.train == "head" and self.reconstruction_weight:
            raise SettingError(
                "joint training needs a backbone that is trained: reconstruction_weight with train='head'"
            )
        if self.patience is not None and not self.eval_steps:
            raise SettingError("patience counts validations: set eval_steps too")
        if self.use != "last" and not self.eval_steps:
            raise SettingError(f"use={self.use!r} needs validations: set eval_steps too")

    def resolved(self, *, scored: bool) -> FinetuneConfig:
        """Returns the settings with those that follow from the data filled in; ``scored``: it has a teacher's scores.

        Raises:
            ValueError: If nothing would be learned.
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
            raise SettingError("all weights of the losses are 0: there is nothing to learn")
        return resolved


def _section(path: Path, stage: str, below: tuple[Path, ...] = ()) -> dict[str, Any] | None:
    """The settings of a stage in a file and in its bases, where it is itself the base of the files ``below``."""
    if path.resolve() in below:
        raise SettingError(f"{path} is its own base: remove 'base:' from one of {', '.join(map(str, below))}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingError(f"{path} is no YAML: {error}") from error
    sections = {"base", "pretrain", "finetune"}
    if not isinstance(content, dict) or not content or not set(content) <= sections:
        raise SettingError(
            f"{path}: settings stand in the sections 'pretrain:' and 'finetune:', with 'base:' beside them"
        )
    section = content.get(stage)
    if not isinstance(section, dict | None):
        raise SettingError(f"{path}: the section '{stage}:' holds no settings: one 'name: value' per line is expected")
    if not isinstance(content.get("base", ""), str):
        raise SettingError(f"{path}: base must be the name of a file, not {content['base']!r}")
    inherited = _section(path.parent / content["base"], stage, (*below, path.resolve())) if "base" in content else None
    return section if inherited is None else inherited | (section or {})
