"""The autoencoder's trainer and its measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pyterrier_saesplade.model import max_pool
from pyterrier_saesplade.training.pretraining.autoencoder import SparseAutoencoder, decode
from pyterrier_saesplade.training.trainer import BatchTrainer, KeepDictionaryNormal

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Number of documents to measure on, as in the log of the paper's authors.
SAMPLE_DOCUMENTS = 768
#: For each of these numbers, the log counts the latents that are active in more documents than that.
DOCUMENT_COUNTS = (2, 8, 32, 128, 512)
_CHUNK_TOKENS = 4096


class AutoencoderTrainer(BatchTrainer):
    """Trains a :class:`SparseAutoencoder`, and logs measures of its quality.

    Args:
        sample: Token states ``[T, d]`` of whole documents to measure on, and the documents' bounds.
        **kwargs: Further arguments of :class:`BatchTrainer`.
    """

    SHOWN: ClassVar[Sequence[str]] = ("loss", "fvu", "dead")

    def __init__(self, *, sample: tuple[Tensor, list[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sample = sample
        self.add_callback(KeepDictionaryNormal())

    def measures(self, means: dict[str, float]) -> dict[str, float]:
        """Returns the fraction of variance unexplained, the share of dead latents and the active latents per token."""
        return {"fvu": means["reconstruction"] / means["variance"], "dead": means["dead"], "l0_token": means["l0"]}

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measures the autoencoder with :func:`measure_documents`, and logs the result."""
        autoencoder = self.accelerator.unwrap_model(self.model)
        metrics = {f"eval_{name}": value for name, value in measure_documents(autoencoder, *self._sample).items()}
        self.log(metrics)
        return metrics


@torch.no_grad()
def measure_documents(autoencoder: SparseAutoencoder, states: Tensor, bounds: list[int]) -> dict[str, float]:
    """Measures an autoencoder on whole documents.

    Args:
        autoencoder: The autoencoder.
        states: ``[T, d]``, the token states of one document after the other.
        bounds: The row at which each document begins, and the number of rows.

    Returns:
        ``fvu``: fraction of variance unexplained. ``l0_token`` and ``l0_text``: mean number of active latents per token
        and per document. ``latents_df_N``: number of latents that are active in more than N of 768 documents; for fewer
        documents, N is scaled down proportionally.
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
