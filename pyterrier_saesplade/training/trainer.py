"""Extensions of the Hugging Face Trainer that both stages use."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader
from transformers import ProgressCallback, Trainer, TrainerCallback

from pyterrier_saesplade.model import SparseHead

if TYPE_CHECKING:
    from collections.abc import Sequence


class Batches(Protocol):
    """An endless iterable data set of batches that are the same after every restart.

    Attributes:
        start: Number of the batch that the next iteration starts with.
    """

    start: int


class BatchTrainer(Trainer):
    """Trains a module on a stream of batches.

    Args:
        model: The module, trained in place. It returns a named tuple of scalars, of which the first is the loss.
        batches: The data; each process has its own.
        workers: Number of processes that prepare batches in advance.
        **kwargs: Further arguments of ``transformers.Trainer``.
    """

    #: Names of the measures that the progress bar shows.
    SHOWN: ClassVar[Sequence[str]]

    def __init__(self, *, model: nn.Module, batches: Batches, workers: int = 0, **kwargs: Any) -> None:
        super().__init__(model=model, train_dataset=batches, eval_dataset=batches, **kwargs)
        self.module = model
        self.batches = batches
        self._workers = workers
        self._outputs: list[Tensor] = []

    @abstractmethod
    def measures(self, means: dict[str, float]) -> dict[str, float]:
        """Returns the measures to log, given the means of the module's outputs since the last entry of the log."""

    def was_stopped(self) -> bool:
        """Returns whether the run recorded in :attr:`state` was stopped early on purpose."""
        return False

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Returns a loader of whole batches; every process draws from its own share."""
        dataset: Any = self.batches
        # By default the loader draws a seed from the global generator, which dropout uses too; after a restart it
        # would draw once more, and the results would differ.
        return DataLoader(dataset, batch_size=None, num_workers=self._workers, generator=torch.Generator())

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Returns the loss of a batch, and keeps the module's outputs for the log."""
        output = model(**inputs)
        self._names = output._fields
        self._outputs.append(torch.stack(output).detach())
        return (output.loss, output) if return_outputs else output.loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the measures of the steps since the last entry to the log."""
        if "loss" in logs and self._outputs:
            means = torch.stack(self._outputs).mean(0)
            if distributed.is_initialized():
                distributed.all_reduce(means)
                means /= distributed.get_world_size()
            logs |= self.measures(dict(zip(self._names, means.tolist(), strict=True)))
            self._outputs.clear()
        super().log(logs, *args, **kwargs)


class KeepDictionaryNormal(TrainerCallback):
    """Keeps the decoder's rows at unit norm, so that only their directions are learned."""

    def on_pre_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
        """Removes from the gradient the component that would change the norms."""
        _head(kwargs["model"]).project_gradient()

    def on_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
        """Rescales the rows to unit norm."""
        _head(kwargs["model"]).normalise_dictionary()


class ShortProgress(ProgressCallback):
    """The Trainer's progress bar, which shows the latest measures at its end instead of printing lines.

    Args:
        shown: Names of the measures to show.
    """

    def __init__(self, shown: Sequence[str]) -> None:
        super().__init__()
        self._shown = shown

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Shows the measures that were logged."""
        if self.training_bar is not None and logs is not None and all(name in logs for name in self._shown):
            self.training_bar.set_postfix({name: f"{logs[name]:.3f}" for name in self._shown})


def _head(model: Any) -> SparseHead:
    """Returns the head inside a module, which distributed training may have wrapped."""
    (head,) = (module for module in model.modules() if isinstance(module, SparseHead))
    return head
