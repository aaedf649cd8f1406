"""The SAE on the Hugging Face Trainer: what the Trainer does not do already."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader
from transformers import ProgressCallback, Trainer, TrainerCallback

from pyterrier_saesplade.model.pooling import max_pool
from pyterrier_saesplade.training.autoencoder import AutoencoderOutput, SparseAutoencoder, decode
from pyterrier_saesplade.training.states import StateBatches

#: Latents are counted that are active in more than these many of 768 documents, as the authors log them.
DOCUMENT_COUNTS = (2, 8, 32, 128, 512)
SAMPLE_DOCUMENTS = 768
_CHUNK_TOKENS = 4096


class AutoencoderTrainer(Trainer):
    """Trains a :class:`SparseAutoencoder`, and logs what tells whether it learns.

    Args:
        batches: The token states; each process has its own.
        sample: Token states ``[T, d]`` of whole documents, with their bounds, to measure on.
        **kwargs: Those of ``transformers.Trainer``.
    """

    def __init__(self, *, batches: StateBatches, sample: tuple[Tensor, list[int]], **kwargs: Any) -> None:
        super().__init__(train_dataset=batches, eval_dataset=batches, **kwargs)
        self._batches = batches
        self._sample = sample
        self._outputs: list[Tensor] = []
        self.add_callback(_KeepDictionaryNormal())

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Returns whole batches as they come: every process draws from its own share of the corpus."""
        return DataLoader(self._batches, batch_size=None)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Returns the loss of a batch, and notes its measures for the log."""
        output: AutoencoderOutput = model(**inputs)
        self._outputs.append(torch.stack(output).detach())
        return (output.loss, output) if return_outputs else output.loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the means since the last entry to the log."""
        if "loss" in logs and self._outputs:
            means = torch.stack(self._outputs).mean(0)
            if distributed.is_initialized():
                distributed.all_reduce(means)
                means /= distributed.get_world_size()
            _, reconstruction, variance, l0, dead = means.tolist()
            logs |= {"fvu": reconstruction / variance, "dead": dead, "l0_token": l0}
            self._outputs.clear()
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measures whole documents: see :func:`measure_documents`."""
        autoencoder = self.accelerator.unwrap_model(self.model)
        metrics = {f"eval_{name}": value for name, value in measure_documents(autoencoder, *self._sample).items()}
        self.log(metrics)
        return metrics


class _KeepDictionaryNormal(TrainerCallback):
    """Keeps the decoder's rows at unit norm: only directions are learned there."""

    def on_pre_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
        _unwrap(kwargs["model"]).project_gradient()

    def on_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
        _unwrap(kwargs["model"]).normalise_dictionary()


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
        reconstructed = head.b_dec + decode(values, latents, autoencoder.dictionary)
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
    """The Trainer's progress bar, with the newest measures at its end in place of lines between."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Shows what was logged of a step."""
        if self.training_bar is not None and "fvu" in logs:
            self.training_bar.set_postfix({name: f"{logs[name]:.3f}" for name in ("loss", "fvu", "dead")})


def _unwrap(model: Any) -> SparseAutoencoder:
    autoencoder: SparseAutoencoder = getattr(model, "module", model)
    return autoencoder
