"""The trainer of fine-tuning: learning rates, validation, checks against collapse, and the models that are kept."""

from __future__ import annotations

import copy
import json
import logging
import math
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import distributed
from transformers import TrainerCallback

from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.errors import CollapsedError
from pyterrier_saesplade.figures import plot_validations
from pyterrier_saesplade.files import atomic_write
from pyterrier_saesplade.training.card import write_card
from pyterrier_saesplade.training.finetuning.parameters import merged, parameter_groups
from pyterrier_saesplade.training.trainer import BatchTrainer, KeepDictionaryNormal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pyterrier_saesplade.training.config import FinetuneConfig
    from pyterrier_saesplade.training.data import TrainingData
    from pyterrier_saesplade.training.finetuning.validation import Validation
    from pyterrier_saesplade.training.workdir import Run

_log = logging.getLogger(__name__)

#: The best models that are kept, and the measure by which each is the best.
BEST = {"best-rr": "eval_RR@10", "best-de": "eval_delta_e"}

#: A mean share of active latents per passage above this causes a warning: such vectors are not sparse.
_MAX_DENSITY = 0.9


class RankingTrainer(BatchTrainer):
    """Trains a :class:`Ranker`.

    Args:
        encoder: An encoder that uses the model that is trained.
        validation: The queries and passages to measure the model on; ``None``: it is not measured.
        run: The run, whose folder holds the best models during training.
        config: The settings.
        **kwargs: Further arguments of :class:`BatchTrainer`.
    """

    SHOWN: ClassVar[Sequence[str]] = ("loss", "l0_doc", "l0_query")

    def __init__(
        self, *, encoder: Encoder, validation: Validation | None, run: Run, config: FinetuneConfig, **kwargs: Any
    ) -> None:
        super().__init__(workers=config.workers, **kwargs)
        self.encoder = encoder
        self.run = run
        self.config = config
        self._validation = validation
        self._warned: set[str] = set()
        self.add_callback(_Patience(config.patience))
        if config.reconstruction_weight:
            self.add_callback(KeepDictionaryNormal())

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Creates the optimiser, with a learning rate for each part of the model."""
        if self.optimizer is None:
            cls, options = self.get_optimizer_cls_and_kwargs(self.args, self.encoder.model)
            self.optimizer = cls(parameter_groups(self.encoder.model, self.config), **options)
        return self.optimizer

    def measures(self, means: dict[str, float]) -> dict[str, float]:
        """Returns the ranker's outputs except the loss, and checks that training has not collapsed.

        Raises:
            CollapsedError: If the loss is not finite, no latent is active, alpha is not positive, or all scores of a
                query are equal.
        """
        step = self.state.global_step
        loss = means.pop("loss")
        rates = "lower the learning rates"
        if not math.isfinite(loss):
            raise CollapsedError(f"the loss is not a finite number at step {step}: {rates}, or use precision='float32'")
        for side, weight in (("doc", "doc_flops"), ("query", "query_flops")):
            if means[f"l0_{side}"] == 0:
                text = "passage" if side == "doc" else "query"
                raise CollapsedError(f"no latent is active in any {text} at step {step}: lower {weight}, or {rates}")
        if means["alpha"] <= 0:
            raise CollapsedError(f"alpha is {means['alpha']:.3g} at step {step}: lower alpha_learning_rate")
        if means["spread"] == 0:
            raise CollapsedError(f"all passages of a query have the same score at step {step}: {rates}")
        if means["l0_doc"] > _MAX_DENSITY * self.encoder.config.width:
            self._warn("nearly all latents are active in a passage: keep fewer per token (k), or raise doc_flops")
        if means["dead"] > 0.5:
            self._warn("more than half of the latents are dead: lower doc_flops or head_learning_rate")
        return means

    def was_stopped(self) -> bool:
        """Returns whether training was stopped because ``patience`` was exhausted."""
        return is_exhausted(self.state.log_history, self.config.patience)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Validates the model, and writes it to the run's folder if it is the best so far."""
        metrics: list[dict[str, float]] = [{}]
        if self.is_world_process_zero() and self._validation is not None:
            measured = self._validation.measure(self.encoder)
            metrics = [{f"eval_{name}": value for name, value in measured.items()}]
            for name, measure in BEST.items():
                before = [entry[measure] for entry in self.state.log_history if measure in entry]
                if not before or metrics[0][measure] > max(before):
                    write_model(self.encoder, self.run.work / name)
        if distributed.is_initialized():
            distributed.broadcast_object_list(metrics)
        self.log(metrics[0])
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics[0])
        return metrics[0]

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            _log.warning("at step %s: %s", self.state.global_step, message)


class _Patience(TrainerCallback):
    """Saves a checkpoint and stops training when :func:`is_exhausted`."""

    def __init__(self, patience: int | None) -> None:
        self._patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if is_exhausted(state.log_history, self._patience):
            control.should_training_stop = control.should_save = True


def is_exhausted(log: Sequence[Mapping[str, float]], patience: int | None) -> bool:
    """Returns whether none of the last ``patience`` validations had a better RR@10 than the best before them."""
    values = [entry[BEST["best-rr"]] for entry in log if BEST["best-rr"] in entry]
    return patience is not None and len(values) > patience and max(values[-patience:]) <= max(values[:-patience])


def write_model(encoder: Encoder, folder: Path) -> None:
    """Writes the current model to a folder, which is replaced if it exists."""
    network = encoder.model
    if hasattr(network.backbone, "merge_and_unload"):
        # Low-rank matrices are merged in a copy, because training goes on with separate matrices.
        network = copy.deepcopy(network)
        network.backbone = merged(network.backbone)
    with atomic_write(folder) as partial:
        Encoder(network, encoder.tokenizer, device=encoder.device).save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)


def finish(trainer: RankingTrainer, data: Sequence[TrainingData], config: FinetuneConfig, run: Run) -> None:
    """Writes the chosen model, with the others in subfolders, the log and a card, and moves it into place."""
    write_model(trainer.encoder, run.work / "last")
    model = run.work / "model"
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(run.work / config.use, model)
    for name in ("last", *BEST):
        if name != config.use and (run.work / name).exists():
            shutil.copytree(run.work / name, model / name)
    log = trainer.state.log_history
    report = {"settings": asdict(config), "data": [source.description for source in data], "log": log}
    (model / "training.json").write_text(json.dumps(report, indent=1))
    write_card(model, run.settings, log, name=run.out.name)
    try:
        plot_validations(log, model / "validations.png")
    except ImportError as error:  # a missing figure must not make a long training fail
        _log.warning("%s", error)
    run.finish(model)
    measures = next((entry for entry in reversed(log) if "eval_RR@10" in entry), None)
    if measures is not None:
        _log.info("%s: RR@10 %.3f, QD-FLOPs %.2f", run.out, measures["eval_RR@10"], measures["eval_qd_flops"])
