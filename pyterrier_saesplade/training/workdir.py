"""What both trainings do around the Trainer: its arguments, several processes, stopping and going on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from transformers import PrinterCallback, ProgressCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from pyterrier_saesplade.encoding import pick_device
from pyterrier_saesplade.errors import PathExistsError, SettingError
from pyterrier_saesplade.files import atomic_write, claim, claimed_settings
from pyterrier_saesplade.training.config import FinetuneConfig, PretrainConfig
from pyterrier_saesplade.training.trainer import BatchTrainer, ShortProgress


@dataclass(frozen=True)
class Run:
    """A run of training and its folder ``OUT.run``, which holds what it takes to go on after it was killed.

    Attributes:
        out: The folder of the model to be.
        settings: What must be the same for the run to go on, as JSON has it.
    """

    out: Path
    settings: Mapping[str, Any]

    @property
    def work(self) -> Path:
        """The folder of the run."""
        return Path(f"{self.out}.run")

    def is_finished(self) -> bool:
        """Tells whether this run's model is in place already: it was stopped before it had tidied up.

        Raises:
            FileExistsError: If another model is in place.
        """
        finished = self.out.exists() and claimed_settings(self.work) == self.settings
        if self.out.exists() and not finished:
            raise PathExistsError(f"{self.out} exists: remove it, or choose another folder for the model")
        return finished

    @contextmanager
    def held(self, rank: int) -> Iterator[None]:
        """Makes the folder, or goes on in the one that is there; what a killed process left broken is removed.

        Args:
            rank: Which process this is: the first does this for all, and keeps other runs out while it works.

        Raises:
            FileExistsError: If the folder belongs to a run with other settings, or is in use.
            OSError: If something cannot be written, such as to a full disk; safetensors has an error of its own for it.
        """
        if rank:
            yield
            return
        claim(self.work, self.settings)
        try:
            lock = FileLock(self.work / "lock").acquire(blocking=False)
        except Timeout:
            raise PathExistsError(f"{self.work} is in use: the same training runs in another process") from None
        with lock:
            _remove_broken_checkpoints(self.work / "checkpoints")
            try:
                yield
            except SafetensorError as error:
                raise OSError(f"{self.work}: {error}; the same call goes on from the last checkpoint") from error

    def finish(self, model: Path) -> None:
        """Moves the model, a folder in the run's, into place, and removes the run's folder."""
        os.replace(model, self.out)
        self.tidy()

    def tidy(self) -> None:
        """Removes the run's folder; it is renamed first, so that no half of it is ever taken for a run."""
        trash = self.work.with_name(f".{self.work.name}.{os.getpid()}.removed")
        os.replace(self.work, trash)
        shutil.rmtree(trash)


def rank_and_processes() -> tuple[int, int]:
    """Returns which process this is, and of how many, as ``torchrun`` says."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def wait(processes: int) -> None:
    """Waits for all processes."""
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
    """Makes the Trainer's arguments, and with them the group of processes.

    Args:
        config: The settings.
        work: The folder of the run.
        device: Where to train; ``None``: the first GPU, else the CPU.
        verbose: Whether to show progress.
        **arguments: Further ones.

    Raises:
        ValueError: If the device is a GPU other than the first.
    """
    if device is not None and pick_device(device).index:
        raise SettingError(f"training takes the first GPU that it sees: set CUDA_VISIBLE_DEVICES in place of {device}")
    _, processes = rank_and_processes()
    made = TrainingArguments(
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
        # A loss that is no number is to be seen.
        logging_nan_inf_filter=False,
        eval_strategy="steps" if config.eval_steps else "no",
        eval_steps=config.eval_steps or None,
        save_steps=config.save_steps,
        save_total_limit=2,
        # The stream of batches finds its place by itself.
        ignore_data_skip=True,
        remove_unused_columns=False,
        report_to=list(config.report_to) or "none",
        use_cpu=torch.device(device).type == "cpu" if device else not torch.cuda.is_available(),
        ddp_backend="gloo" if processes > 1 and not torch.cuda.is_available() else None,
        ddp_find_unused_parameters=False,
        disable_tqdm=not verbose,
        **arguments,
    )
    # One GPU to a process: the Trainer would spread a single process over all GPUs by DataParallel.
    made._n_gpu = min(made.n_gpu, 1)
    return made


def train(trainer: BatchTrainer) -> None:
    """Trains from the last checkpoint on, or from the start."""
    arguments = trainer.args
    trainer.remove_callback(PrinterCallback if arguments.disable_tqdm else ProgressCallback)
    if not arguments.disable_tqdm:
        trainer.add_callback(ShortProgress(trainer.SHOWN))
    checkpoint = get_last_checkpoint(arguments.output_dir)
    if checkpoint is not None:
        trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        trainer.batches.start = trainer.state.global_step
    if checkpoint is not None and (trainer.batches.start >= arguments.max_steps or trainer.was_stopped()):
        # All steps are done; the Trainer would take one more.
        trainer.module.load_state_dict(load_file(Path(checkpoint) / "model.safetensors"))
    else:
        trainer.train(resume_from_checkpoint=checkpoint)


def _remove_broken_checkpoints(folder: Path) -> None:
    """Removes checkpoints that were not written to their end: the Trainer writes ``trainer_state.json`` last."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(path)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes tensors to a file, which appears when it is complete."""
    with atomic_write(path) as partial:
        save_file(tensors, partial)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings as they are read from JSON again."""
    read: dict[str, Any] = json.loads(json.dumps(settings))
    return read
