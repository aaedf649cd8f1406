"""From the activations of tokens to the weights of a text: the strongest token of each latent counts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pooled(NamedTuple):
    """The active latents of a batch of texts, by text and latent.

    Attributes:
        texts: ``[n]``, which text.
        latents: ``[n]``, ascending within a text.
        values: ``[n]``, positive; differentiable.
        tokens: ``[n]``, the row of the packed token states that gave the value; of equal ones the first.
    """

    texts: Tensor
    latents: Tensor
    values: Tensor
    tokens: Tensor


def max_pool(values: Tensor, latents: Tensor, texts: Tensor, width: int) -> Pooled:
    """Takes the maximum over the tokens of each text, per latent (paper, section 3.2), without a dense row.

    Args:
        values: ``[T, k]`` pre-activations; those that are not positive are inactive (ReLU).
        latents: ``[T, k]``.
        texts: ``[T]``, the text of each token.
        width: The number of latents, M.

    Returns:
        One entry per text and latent that is active in it.
    """
    active = (values > 0).nonzero()
    tokens = active[:, 0]
    strength = values[values > 0]
    keys = texts[tokens] * width + latents[values > 0]
    # Two stable sorts: by value, then by text and latent; the first of each run is the strongest, of the earliest
    # token.
    order = strength.detach().sort(descending=True, stable=True).indices
    order = order[keys[order].sort(stable=True).indices]
    keys = keys[order]
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    order, keys = order[first], keys[first]
    return Pooled(keys // width, keys % width, strength[order], tokens[order])
