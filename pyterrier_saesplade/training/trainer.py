"""The trainings on the Hugging Face Trainer: what the Trainer does not do already."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader
from transformers import ProgressCallback, Trainer, TrainerCallback

from pyterrier_saesplade.model.heads import SparseHead
from pyterrier_saesplade.model.pooling import max_pool
from pyterrier_saesplade.training.autoencoder import SparseAutoencoder, decode

#: Latents are counted that are active in more than these many of 768 documents, as the authors log them.
DOCUMENT_COUNTS = (2, 8, 32, 128, 512)
SAMPLE_DOCUMENTS = 768
_CHUNK_TOKENS = 4096


class Batches(Protocol):
    """An endless iterable data set of batches, the same after every restart.

    Attributes:
        start: The batch that it begins with.
    """

    start: int


class BatchTrainer(Trainer):
    """Trains a module whose output is a named tuple of scalars, the loss first, on batches as they come.

    Args:
        model: The module, trained in place.
        batches: The data; each process has its own.
        workers: Processes that prepare batches ahead.
        **kwargs: Those of ``transformers.Trainer``.
    """

    #: The measures that the progress bar shows.
    SHOWN: ClassVar[Sequence[str]]

    def __init__(self, *, model: nn.Module, batches: Batches, workers: int = 0, **kwargs: Any) -> None:
        super().__init__(model=model, train_dataset=batches, eval_dataset=batches, **kwargs)
        self.module = model
        self.batches = batches
        self._workers = workers
        self._outputs: list[Tensor] = []

    @abstractmethod
    def measures(self, means: dict[str, float]) -> dict[str, float]:
        """Returns what is logged, from the means of the module's outputs since the last entry."""

    def was_stopped(self) -> bool:
        """Tells whether the run of :attr:`state` ended before its last step."""
        return False

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Returns whole batches as they come: every process draws from its own share."""
        dataset: Any = self.batches
        # A generator of its own: the loader would draw from the one that dropout uses, once more after a restart.
        return DataLoader(dataset, batch_size=None, num_workers=self._workers, generator=torch.Generator())

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Returns the loss of a batch, and notes its measures for the log."""
        output = model(**inputs)
        self._names = output._fields
        self._outputs.append(torch.stack(output).detach())
        return (output.loss, output) if return_outputs else output.loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the measures since the last entry to the log."""
        if "loss" in logs and self._outputs:
            means = torch.stack(self._outputs).mean(0)
            if distributed.is_initialized():
                distributed.all_reduce(means)
                means /= distributed.get_world_size()
            logs |= self.measures(dict(zip(self._names, means.tolist(), strict=True)))
            self._outputs.clear()
        super().log(logs, *args, **kwargs)


class AutoencoderTrainer(BatchTrainer):
    """Trains a :class:`SparseAutoencoder`, and logs what tells whether it learns.

    Args:
        sample: Token states ``[T, d]`` of whole documents, with their bounds, to measure on.
        **kwargs: Those of :class:`BatchTrainer`.
    """

    SHOWN: ClassVar[Sequence[str]] = ("loss", "fvu", "dead")

    def __init__(self, *, sample: tuple[Tensor, list[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sample = sample
        self.add_callback(KeepDictionaryNormal())

    def measures(self, means: dict[str, float]) -> dict[str, float]:
        """Returns the fraction of variance unexplained, the share of dead latents, and the active ones of a token."""
        return {"fvu": means["reconstruction"] / means["variance"], "dead": means["dead"], "l0_token": means["l0"]}

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measures whole documents: see :func:`measure_documents`."""
        autoencoder = self.accelerator.unwrap_model(self.model)
        metrics = {f"eval_{name}": value for name, value in measure_documents(autoencoder, *self._sample).items()}
        self.log(metrics)
        return metrics


class KeepDictionaryNormal(TrainerCallback):
    """Keeps the decoder's rows at unit norm: only directions are learned there."""

    def on_pre_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
        """Takes out of the gradient what would change the norms."""
        _head(kwargs["model"]).project_gradient()

    def on_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
        """Rescales the rows."""
        _head(kwargs["model"]).normalise_dictionary()


@torch.no_grad()
def measure_documents(autoencoder: SparseAutoencoder, states: Tensor, bounds: list[int]) -> dict[str, float]:
    """Measures an autoencoder on whole documents.

    Args:
        autoencoder: It.
        states: ``[T, d]``, token states, document after document.
        bounds: Where each document begins, and where the last ends.

    Returns:
        ``fvu``: fraction of variance unexplained; ``l0_token`` and ``l0_text``: mean active latents of a token and of a
        document; ``latents_df_N``: latents active in more than N of 768 documents (that share of fewer).
    """
    head = autoencoder.head
    width, documents = len(head.W_enc), len(bounds) - 1
    texts = torch.repeat_interleave(torch.arange(documents), torch.tensor(bounds).diff())
    error, active, keys = 0.0, 0, []
    for start in range(0, len(states), _CHUNK_TOKENS):
        chunk = states[start : start + _CHUNK_TOKENS].to(head.W_enc)
        values, latents = head(chunk, autoencoder.k, dtype=autoencoder.dtype)
        reconstructed = head.b_dec + decode(values, latents, head.dictionary)
        error += float((chunk - reconstructed).square().sum())
        active += int((values > 0).sum())
        pooled = max_pool(values.cpu(), latents.cpu(), texts[start : start + _CHUNK_TOKENS], width)
        keys.append(pooled.texts * width + pooled.latents)
    pairs = np.unique(torch.cat(keys).numpy())
    df = np.bincount(pairs % width, minlength=width)
    variance = float((states.float() - states.float().mean(0)).square().sum())
    metrics = {"fvu": error / variance, "l0_token": active / len(states), "l0_text": len(pairs) / documents}
    return metrics | {
        f"latents_df_{count}": int((df > count * documents / SAMPLE_DOCUMENTS).sum()) for count in DOCUMENT_COUNTS
    }


class ShortProgress(ProgressCallback):
    """The Trainer's progress bar, with the newest measures at its end in place of lines between.

    Args:
        shown: Their names.
    """

    def __init__(self, shown: Sequence[str]) -> None:
        super().__init__()
        self._shown = shown

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Shows what was logged of a step."""
        if self.training_bar is not None and logs is not None and all(name in logs for name in self._shown):
            self.training_bar.set_postfix({name: f"{logs[name]:.3f}" for name in self._shown})


def _head(model: Any) -> SparseHead:
    """Returns the head inside a module, which distributed training has wrapped."""
    (head,) = (module for module in model.modules() if isinstance(module, SparseHead))
    return head
