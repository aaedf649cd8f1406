"""Max pooling: the weight of a latent in a text is its largest activation over the tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pooled(NamedTuple):
    """The active latents of a batch of texts, sorted by text and latent.

    Attributes:
        texts: ``[n]``, the index of the text.
        latents: ``[n]``, ascending within a text.
        values: ``[n]``, positive, differentiable.
        tokens: ``[n]``, the row of the packed token states with the largest activation; the first one in case of ties.
    """

    texts: Tensor
    latents: Tensor
    values: Tensor
    tokens: Tensor


def max_pool(values: Tensor, latents: Tensor, texts: Tensor, width: int) -> Pooled:
    """Takes the maximum of each latent over the tokens of each text (paper, section 3.2), without dense rows.

    Args:
        values: ``[T, k]`` pre-activations. Only positive ones are active (ReLU).
        latents: ``[T, k]``.
        texts: ``[T]``, the text of each token.
        width: The number of latents, M.

    Returns:
        One entry per text and active latent.

    Examples:
        >>> values, latents = torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([[4, 7], [4, 9]])
        >>> pooled = max_pool(values, latents, texts=torch.tensor([0, 0]), width=16)
        >>> pooled.latents.tolist(), pooled.values.tolist(), pooled.tokens.tolist()
        ([4, 7], [2.0, 3.0], [1, 0])
    """
    active = (values > 0).nonzero()
    tokens = active[:, 0]
    strength = values[values > 0]
    keys = texts[tokens] * width + latents[values > 0]
    # Two stable sorts, by value and then by text and latent, put the largest value of the earliest token first.
    order = strength.detach().sort(descending=True, stable=True).indices
    order = order[keys[order].sort(stable=True).indices]
    keys = keys[order]
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    order, keys = order[first], keys[first]
    return Pooled(keys // width, keys % width, strength[order], tokens[order])
