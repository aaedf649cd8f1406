"""Shared by both stages: the folder of a run, the Trainer's arguments, processes and resuming."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from transformers import PrinterCallback, ProgressCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from pyterrier_saesplade.encoding import pick_device
from pyterrier_saesplade.errors import EngineError, PathExistsError, SettingError
from pyterrier_saesplade.files import atomic_write, claim, claimed_settings
from pyterrier_saesplade.training.trainer import BatchTrainer, ShortProgress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyterrier_saesplade.training.config import FinetuneConfig, PretrainConfig


@dataclass(frozen=True)
class Run:
    """A training run and its folder ``OUT.run``, which holds everything needed to resume it after a crash.

    Attributes:
        out: The folder of the finished model.
        settings: What must be equal for the run to be resumed, as read back from JSON.
    """

    out: Path
    settings: Mapping[str, Any]

    @property
    def work(self) -> Path:
        """The folder of the run."""
        return Path(f"{self.out}.run")

    def is_finished(self) -> bool:
        """Returns whether this run was stopped after its model was in place, but before :meth:`tidy` was done.

        Raises:
            PathExistsError: If another model is in place.
        """
        finished = self.out.exists() and claimed_settings(self.work) == self.settings
        if self.out.exists() and not finished:
            raise PathExistsError(f"{self.out} exists: remove it, or choose another folder for the model")
        return finished

    @contextmanager
    def held(self, rank: int) -> Iterator[None]:
        """Creates or reopens the folder and locks it, and removes checkpoints that a killed process left incomplete.

        Args:
            rank: Rank of this process. The first process does the work for all processes.

        Raises:
            PathExistsError: If the folder belongs to a run with other settings, or is in use.
            EngineError: If safetensors cannot write a file, for example because the disk is full.
        """
        if rank:
            yield
            return
        claim(self.work, self.settings)
        try:
            lock = FileLock(self.work / "lock").acquire(blocking=False)
        except Timeout:
            raise PathExistsError(f"{self.work} is in use: another process runs the same training") from None
        with lock:
            _remove_broken_checkpoints(self.work / "checkpoints")
            try:
                yield
            except SafetensorError as error:
                raise EngineError(f"{self.work}: {error}; the same call resumes from the last checkpoint") from error

    def finish(self, model: Path) -> None:
        """Moves ``model``, a folder within the run's folder, into place, and removes the run's folder."""
        model.replace(self.out)
        self.tidy()

    def tidy(self) -> None:
        """Removes the run's folder. It is renamed first, so that a half-removed folder is never taken for a run."""
        trash = self.work.with_name(f".{self.work.name}.{os.getpid()}.removed")
        self.work.replace(trash)
        shutil.rmtree(trash)


def rank_and_processes() -> tuple[int, int]:
    """Returns the rank of this process and the number of processes, as ``torchrun`` sets them."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def wait(processes: int) -> None:
    """Waits until all processes have reached this call."""
    if processes > 1:
        distributed.barrier()


def training_arguments(
    config: PretrainConfig | FinetuneConfig,
    work: Path,
    device: str | torch.device | None,
    *,
    verbose: bool,
    **arguments: Any,
) -> TrainingArguments:
    """Returns the Trainer's arguments. Creating them also sets up the group of processes.

    Args:
        config: The settings.
        work: The folder of the run.
        device: Where to train; ``None``: the first GPU, or the CPU if there is none.
        verbose: Whether to show progress.
        **arguments: Further arguments of ``transformers.TrainingArguments``.

    Raises:
        SettingError: If the device is a GPU other than the first.
    """
    if device is not None and pick_device(device).index:
        raise SettingError(f"training uses the first visible GPU: set CUDA_VISIBLE_DEVICES instead of device={device}")
    _, processes = rank_and_processes()
    training = TrainingArguments(
        output_dir=str(work / "checkpoints"),
        max_steps=max(1, config.steps),
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear" if config.schedule == "linear" else "constant_with_warmup",
        warmup_steps=config.warmup_steps,
        adam_epsilon=config.adam_epsilon,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        seed=config.seed,
        logging_steps=config.log_steps,
        # Log NaN and infinite losses instead of hiding them.
        logging_nan_inf_filter=False,
        eval_strategy="steps" if config.eval_steps else "no",
        eval_steps=config.eval_steps or None,
        save_steps=config.save_steps,
        save_total_limit=2,
        # The batches themselves start at the right place after a restart.
        ignore_data_skip=True,
        remove_unused_columns=False,
        report_to=list(config.report_to) or "none",
        use_cpu=torch.device(device).type == "cpu" if device else not torch.cuda.is_available(),
        ddp_backend="gloo" if processes > 1 and not torch.cuda.is_available() else None,
        ddp_find_unused_parameters=False,
        disable_tqdm=not verbose,
        **arguments,
    )
    # One GPU per process: the Trainer would spread a single process over all GPUs with DataParallel.
    training._n_gpu = min(training.n_gpu, 1)
    return training


def train(trainer: BatchTrainer) -> None:
    """Trains from the last checkpoint, or from the start if there is none."""
    arguments = trainer.args
    trainer.remove_callback(PrinterCallback if arguments.disable_tqdm else ProgressCallback)
    if not arguments.disable_tqdm:
        trainer.add_callback(ShortProgress(trainer.SHOWN))
    checkpoint = get_last_checkpoint(arguments.output_dir)
    if checkpoint is not None:
        trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        trainer.batches.start = trainer.state.global_step
    if checkpoint is not None and (trainer.batches.start >= arguments.max_steps or trainer.was_stopped()):
        # All steps are done, but the Trainer would take one more.
        trainer.module.load_state_dict(load_file(Path(checkpoint) / "model.safetensors"))
    else:
        trainer.train(resume_from_checkpoint=checkpoint)


def _remove_broken_checkpoints(folder: Path) -> None:
    """Removes incomplete checkpoints, which lack ``trainer_state.json``: the Trainer writes it last."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(path)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes tensors to a file, which appears only when it is complete."""
    with atomic_write(path) as partial:
        save_file(tensors, partial)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings as they are read back from JSON: tuples become lists, for example."""
    read: dict[str, Any] = json.loads(json.dumps(settings))
    return read
