"""The settings of a pre-training run."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from pyterrier_saesplade.encoding.precision import Precision, check_precision

#: The type of each number, and the least that it can be.
_LEAST: dict[str, tuple[Any, float]] = {
    **dict.fromkeys(("width", "k", "steps", "batch_tokens", "batch_documents", "dead_after"), (int, 1)),
    **dict.fromkeys(("log_steps", "save_steps"), (int, 1)),
    **dict.fromkeys(("warmup_steps", "eval_steps", "seed"), (int, 0)),
    **dict.fromkeys(("doc_max_length", "query_max_length"), (int, 4)),
    **dict.fromkeys(("learning_rate", "adam_epsilon", "states_gigabytes"), (int | float, 1e-12)),
    **dict.fromkeys(("weight_decay", "max_grad_norm", "aux_weight"), (int | float, 0)),
}


@dataclass(frozen=True)
class PretrainConfig:
    """How an SAE is trained on the token states of a corpus (paper, section 3.1).

    The defaults are for a laptop: minutes on two cores. ``examples/pretrain/paper.yaml`` holds the paper's.

    Attributes:
        width: Number of latents, M.
        k: Activations kept per token (k_SAE).
        layer: Token states to read: ``"last"``, a layer's number, or ``"h"``.
        markers: Whether texts get the paper's ``[Q]`` and ``[D]`` markers; off for a backbone that never saw them.
        doc_max_length: Documents are cut at this many word pieces.
        query_max_length: The same for queries.
        input_norm: Whether token states are centred and scaled by their mean norm.
        init: ``"data"``: the dictionary starts as token states of the corpus, which leaves few latents dead;
            ``"linear"``: as ``nn.Linear``, like the paper.
        steps: Optimiser steps.
        batch_tokens: Token states per step, over all processes.
        batch_documents: If given, a step takes all tokens of this many documents instead.
        learning_rate: Of AdamW.
        schedule: After the warm-up, ``"linear"`` decay to 0 or ``"constant"``.
        warmup_steps: Steps of linear warm-up.
        adam_epsilon: AdamW's eps.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are clipped at this norm.
        aux_weight: Weight of the auxiliary loss, which revives dead latents.
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
    """

    width: int = 16384
    k: int = 8
    layer: int | Literal["last", "h"] = "last"
    markers: bool = False
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
    dead_after: int = 10_000_000
    seed: int = 42
    precision: Precision = "auto"
    states_gigabytes: float = 8.0
    log_steps: int = 10
    eval_steps: int = 0
    save_steps: int = 100

    def __post_init__(self) -> None:
        for name, (kind, least) in _LEAST.items():
            value = getattr(self, name)
            if value is None and name == "batch_documents":
                continue
            if isinstance(value, bool) or not isinstance(value, kind) or value < least:
                # YAML reads 5e-5 as a text and 5.0e-5 as a number.
                noun = "a whole number" if kind is int else "a number (in YAML such as 5.0e-5)"
                raise ValueError(f"{name} must be {noun}, at least {least}, not {value!r}")
        if self.k > self.width:
            raise ValueError(f"k must be between 1 and width ({self.width}), not {self.k}")
        if self.layer not in ("last", "h") and (not isinstance(self.layer, int) or self.layer < 1):
            raise ValueError(f"layer must be 'last', 'h' or the number of a layer, not {self.layer!r}")
        check_precision(self.precision)
        if self.init not in ("data", "linear"):
            raise ValueError(f"init must be 'data' or 'linear', not {self.init!r}")
        if self.schedule not in ("linear", "constant"):
            raise ValueError(f"schedule must be 'linear' or 'constant', not {self.schedule!r}")

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> PretrainConfig:
        """Reads a YAML file of settings by name; ``overrides`` win.

        Raises:
            ValueError: If the file is no YAML, holds no settings or an unknown one, or a value is impossible.
        """
        try:
            settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {error}") from error
        if not isinstance(settings, dict):
            raise ValueError(f"{path} holds no settings: one 'name: value' per line is expected")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"{path}: unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return cls(**(settings | overrides))
