"""The TopK sparse autoencoder and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, distributed, nn

from pyterrier_saesplade.model import SparseHead, search_factors, select_topk, selected_linear

if TYPE_CHECKING:
    from pyterrier_saesplade.training.config import PretrainConfig


class AutoencoderOutput(NamedTuple):
    """The loss and the measures of one batch of token states; all scalars.

    Attributes:
        loss: The variant's error plus the weighted auxiliary loss.
        reconstruction: Squared error of the whole dictionary, summed over dimensions and averaged over tokens.
        variance: Squared distance from the batch's mean state, averaged over tokens.
        l0: Mean number of active latents per token.
        dead: Share of the latents that are dead.
    """

    loss: Tensor
    reconstruction: Tensor
    variance: Tensor
    l0: Tensor
    dead: Tensor


class SparseAutoencoder(nn.Module):
    """A head with its decoder, trained to reconstruct token states (paper, section 3.1; Gao et al., 2024).

    Args:
        head: The head to train, in place; it must have a decoder.
        settings: The settings of the run. The settings of the loss are used.
        dead_after: A latent is dead after this many tokens in a row that did not activate it.
        dtype: Number format in which the strongest latents are searched.
    """

    inactive: Tensor

    def __init__(
        self, head: SparseHead, settings: PretrainConfig, *, dead_after: int, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.head = head
        self.k = settings.k
        self.settings = settings
        self.aux_weight = 0.0 if settings.variant == "hierarchical" else settings.aux_weight
        self.dead_after = dead_after
        self.dtype = dtype
        self.register_buffer("inactive", torch.zeros(len(head.W_enc), dtype=torch.long))

    def forward(self, states: Tensor) -> AutoencoderOutput:
        """Reconstructs a batch of token states ``[T, d]``, and returns the loss and the measures."""
        states = states.to(self.head.W_enc.dtype)
        values, latents = self.head(states, self.k, dtype=self.dtype)
        residual = states - self.head.b_dec - decode(values, latents, self.head.dictionary)
        reconstruction = residual.square().sum(1)
        scale = states.square().sum(1).clamp(min=1e-12) if self.settings.normalise_error else 1.0
        loss = (self._errors(states, values, latents, reconstruction) / scale).mean()
        dead = self.inactive >= self.dead_after
        if self.aux_weight and dead.any():
            loss = loss + self.aux_weight * (self._auxiliary(states, residual.detach(), dead) / scale).mean()
        if self.training:
            self._count(values, latents)
        variance = (states - states.mean(0)).square().sum(1).mean()
        l0 = (values > 0).sum(1).float().mean()
        return AutoencoderOutput(loss, reconstruction.detach().mean(), variance, l0, dead.float().mean())

    def _errors(self, states: Tensor, values: Tensor, latents: Tensor, reconstruction: Tensor) -> Tensor:
        """Returns the error ``[T]`` that the variant minimises; ``reconstruction`` is that of all active latents."""
        if self.settings.variant == "hierarchical":
            return _mean_error_of_strongest(states - self.head.b_dec, values, latents, self.head.dictionary)
        *prefixes, _ = self.settings.cuts
        errors = reconstruction
        for prefix in prefixes:
            decoded = decode(values * (latents < prefix), latents, self.head.dictionary)
            errors = errors + (states - self.head.b_dec - decoded).square().sum(1)
        return errors / (len(prefixes) + 1)

    def _auxiliary(self, states: Tensor, residual: Tensor, dead: Tensor) -> Tensor:
        # Dead latents, padded to a multiple of ``step`` with living ones, whose bias of -inf keeps them inactive. This
        # way the matrix products have only few different shapes (see model/topk.py).
        count = int(dead.sum())
        step = max(1, len(dead) // 16)
        order = dead.long().argsort(descending=True, stable=True)[: -(-count // step) * step]
        centred = states - self.head.b_dec
        weight = self.head.W_enc[order]
        bias = self.head.b_enc[order].masked_fill(~dead[order], float("-inf"))
        factors = search_factors(weight, bias, self.dtype)
        latents = select_topk(centred, weight, bias, min(2 * self.k, count), factors=factors).latents
        values = torch.relu(selected_linear(centred, weight, bias, latents))
        return (residual - decode(values, latents, self.head.dictionary[order])).square().sum(1)

    @torch.no_grad()
    def _count(self, values: Tensor, latents: Tensor) -> None:
        """Updates the number of tokens since each latent was last active, over all processes."""
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        self.inactive += len(values) * processes
        self.inactive[latents[values > 0]] = 0
        if processes > 1:
            distributed.all_reduce(self.inactive, distributed.ReduceOp.MIN)


def _mean_error_of_strongest(centred: Tensor, values: Tensor, latents: Tensor, dictionary: Tensor) -> Tensor:
    """Returns the squared error ``[T]`` of each token's ``j`` strongest latents, averaged over ``j``.

    The latents are in descending order of activation, so their contributions are subtracted one after the other.
    """
    errors = centred.new_zeros(len(centred))
    for rank in range(latents.shape[1]):
        centred = centred - values[:, rank, None] * dictionary[latents[:, rank]]
        errors = errors + centred.square().sum(1)
    return errors / latents.shape[1]


def decode(values: Tensor, latents: Tensor, dictionary: Tensor) -> Tensor:
    """Returns the sums of the dictionary's rows, weighted by activations.

    Args:
        values: ``[T, k]``, the activations.
        latents: ``[T, k]``, the latents that they belong to.
        dictionary: ``[M, d]``, one row per latent.

    Returns:
        ``[T, d]``.

    Examples:
        >>> dictionary = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> decode(torch.tensor([[2.0, 0.5]]), torch.tensor([[0, 2]]), dictionary)
        tensor([[2.5000, 0.5000]])
    """
    return nn.functional.embedding_bag(latents, dictionary, per_sample_weights=values, mode="sum")


@torch.no_grad()
def initialise_from_data(head: SparseHead, states: Tensor, generator: torch.Generator, *, noise: float = 0.02) -> None:
    """Initialises a head's dictionary with token states of the corpus.

    ``b_dec`` is the mean of the states. The rows of ``W_dec`` are centred states with a little noise, scaled to unit
    norm. ``W_enc`` is half of ``W_dec``, and ``b_enc`` is 0. Compared with a random initialisation, this leaves almost
    no latent dead, and a few hundred steps of training are enough.

    Args:
        head: The head, with its decoder.
        states: ``[N, d]``, a sample of the corpus's token states.
        generator: The source of randomness.
        noise: Norm of the noise relative to the norm of the centred state.
    """
    width = len(head.W_enc)
    states = states.to(head.W_enc.dtype)
    mean = states.mean(0)
    head.b_dec.copy_(mean)
    # A sample with fewer states than latents is repeated; the noise makes the copies differ.
    order = torch.cat([torch.randperm(len(states), generator=generator) for _ in range(-(-width // len(states)))])
    rows = states[order[:width]] - mean
    jitter = torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
    rows += noise * rows.norm(dim=1, keepdim=True) * nn.functional.normalize(jitter, dim=1)
    head.dictionary.copy_(nn.functional.normalize(rows, dim=1))
    head.W_enc.copy_(head.dictionary / 2)
    head.b_enc.zero_()
