"""The head's linear map, of which only a few outputs per token are ever wanted.

A dense head computes ``[tokens, M]`` pre-activations forward, and two more products of that size backward. Here the
selection (which latents are active) runs without gradient, in chunks under a memory budget and in bfloat16 where the
hardware multiplies it; the values of the selected latents are then computed again in full precision by an autograd
function whose backward is a gather for the input and a scatter-add for the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Memory for one chunk of pre-activations, or of gathered weights, in bytes.
CHUNK_BYTES = 64 * 2**20


def select_topk(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    k: int,
    *,
    candidates: int | None = None,
    dtype: torch.dtype | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """Finds the ``k`` largest pre-activations of each token.

    Args:
        states: ``[T, d]``.
        weight: ``[M, d]``.
        bias: ``[M]``.
        k: How many to find.
        candidates: How many the product proposes; if more than ``k``, their values are computed again in the precision
            of the weights, and these decide. ``None``: ``k``.
        dtype: The type of the product; ``None``: that of the weights. In bfloat16 each operand and the result are
            rounded by a relative 2^-8 at most, hence a latent is wrongly proposed or left out only within
            ``2^-6 * (|x| |w| + |b|)`` of the last value that is proposed.
        chunk_bytes: Memory for the pre-activations that exist at one time.

    Returns:
        ``[T, k]`` latents, by falling pre-activation.
    """
    size = _chunk_size(chunk_bytes, len(weight), dtype or weight.dtype)
    product = _Product(states, weight, bias, dtype, size)
    latents = torch.empty((len(states), k), dtype=torch.long, device=states.device)
    candidates = min(max(k, candidates or k), len(weight))
    for chunk in _chunks(len(states), size):
        best = product(chunk.start, chunk.stop).topk(candidates).indices
        if candidates > k:
            values = selected_linear(states[chunk].detach(), weight.detach(), bias.detach(), best)
            best = best.gather(1, values.topk(k).indices)
        latents[chunk] = best
    return latents


def select_active(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    bounds: list[int],
    *,
    dtype: torch.dtype | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Tensor, Tensor]:
    """Finds, without TopK, every latent that is active in a text, and the token where it is strongest.

    Args:
        states: ``[T, d]``, the tokens of all texts one after the other.
        weight: ``[M, d]``.
        bias: ``[M]``.
        bounds: ``n + 1`` ascending numbers: text ``i`` has the tokens ``bounds[i]`` to ``bounds[i + 1] - 1``.
        dtype: As in :func:`select_topk`; in bfloat16 the token found may be one whose value is below the largest, and a
            latent may be missed whose largest value is near 0, both by the margin named there.
        chunk_bytes: As in :func:`select_topk`; a single text may exceed it.

    Returns:
        Two tensors ``[n]``: the tokens, and the latents, by text and latent.
    """
    size = _chunk_size(chunk_bytes, len(weight), dtype or weight.dtype)
    longest = max((end - start for start, end in pairwise(bounds)), default=0)
    product = _Product(states, weight, bias, dtype, max(size, longest))
    tokens, latents = [], []
    for first, last in _groups(bounds, size):
        start = bounds[first]
        activations = product(start, bounds[last])
        for i in range(first, last):
            text = activations[bounds[i] - start : bounds[i + 1] - start]
            if len(text):
                active = (text.amax(0) > 0).nonzero().squeeze(1)
                tokens.append(text[:, active].argmax(0) + bounds[i])
                latents.append(active)
    empty = torch.empty(0, dtype=torch.long, device=states.device)
    return torch.cat([empty, *tokens]), torch.cat([empty, *latents])


def selected_linear(
    states: Tensor, weight: Tensor, bias: Tensor, latents: Tensor, *, chunk_bytes: int = CHUNK_BYTES
) -> Tensor:
    """Computes the chosen outputs of ``states @ weight.T + bias`` in the precision of the weights, differentiably.

    Args:
        states: ``[T, d]``.
        weight: ``[M, d]``.
        bias: ``[M]``.
        latents: ``[T, k]``, the outputs wanted of each token.
        chunk_bytes: Memory for the weights gathered at one time.

    Returns:
        ``[T, k]`` pre-activations.
    """
    with torch.autocast(states.device.type, enabled=False):
        states = states.to(weight.dtype)
        values: Tensor = _SelectedLinear.apply(states, weight, bias, latents, chunk_bytes)
    return values


class _Product:
    """The pre-activations of tokens, chunk after chunk, without gradient.

    Every chunk is written into the same memory: to fetch fresh pages costs more than half of what the product does.
    The bias is one more column of the factors, for the same reason: no pass over the result. Chunks have few different
    lengths, because oneDNN keeps workspace of the size of the weights for each shape that it has seen, up to 1,024.

    Args:
        states: ``[T, d]``.
        weight: ``[M, d]``.
        bias: ``[M]``.
        dtype: The type to compute in; ``None``: that of ``weight``.
        tokens: How many tokens a chunk may have.
    """

    def __init__(self, states: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype | None, tokens: int) -> None:
        dtype = dtype or weight.dtype
        rows = _rounded(min(tokens, len(states)))
        self._states = _with_column(states.detach(), 1.0, dtype, extra_rows=rows)
        self._weight = _with_column(weight.detach(), bias.detach(), dtype).T
        self._result = torch.empty((rows, len(weight)), dtype=dtype, device=states.device)

    def __call__(self, start: int, stop: int) -> Tensor:
        """Returns ``[stop - start, M]``, valid until the next call."""
        rows = _rounded(stop - start)
        with torch.no_grad(), torch.autocast(self._states.device.type, enabled=False):
            torch.mm(self._states[start : start + rows], self._weight, out=self._result[:rows])
        return self._result[: stop - start]


def _rounded(rows: int) -> int:
    """Returns the next power of two, or the next multiple of 256 above that."""
    return 1 << (rows - 1).bit_length() if 0 < rows <= 256 else -(-rows // 256) * 256


def _with_column(matrix: Tensor, column: Tensor | float, dtype: torch.dtype, extra_rows: int = 0) -> Tensor:
    """Copies a matrix to ``dtype`` with one more column, and zeros up to a multiple of 8: products like it."""
    rows, columns = matrix.shape
    wider = torch.zeros((rows + extra_rows, (columns // 8 + 1) * 8), dtype=dtype, device=matrix.device)
    wider[:rows, :columns] = matrix
    wider[:rows, columns] = column
    return wider


def _groups(bounds: list[int], size: int) -> Iterator[tuple[int, int]]:
    """Cuts the texts into runs of at most ``size`` tokens, of at least one text each."""
    first = 0
    for i in range(1, len(bounds)):
        if bounds[i] - bounds[first] > size and i - 1 > first:
            yield first, i - 1
            first = i - 1
    if first < len(bounds) - 1:
        yield first, len(bounds) - 1


class _SelectedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, latents: Tensor, chunk_bytes: int) -> Tensor:
        ctx.save_for_backward(states, weight, latents)
        ctx.size = size = _chunk_size(chunk_bytes, weight.shape[1] * latents.shape[1], weight.dtype)
        values = bias[latents]
        for chunk in _chunks(len(states), size):
            values[chunk] += torch.bmm(weight[latents[chunk]], states[chunk].unsqueeze(2)).squeeze(2)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, latents = ctx.saved_tensors
        wants_states, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_states = torch.empty_like(states) if wants_states else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        for chunk in _chunks(len(states), ctx.size):
            if grad_states is not None:
                grad_states[chunk] = torch.bmm(grad[chunk].unsqueeze(1), weight[latents[chunk]]).squeeze(1)
            if grad_weight is not None:
                outer = grad[chunk].unsqueeze(2) * states[chunk].unsqueeze(1)
                grad_weight.index_add_(0, latents[chunk].flatten(), outer.flatten(0, 1))
        grad_bias = None
        if wants_bias:
            grad_bias = grad.new_zeros(len(weight)).index_add_(0, latents.flatten(), grad.flatten())
        return grad_states, grad_weight, grad_bias, None, None


def _chunk_size(chunk_bytes: int, columns: int, dtype: torch.dtype) -> int:
    """Returns how many rows of ``columns`` fit the memory, at least one; in full steps of :func:`_rounded`."""
    rows = max(1, chunk_bytes // (dtype.itemsize * max(1, columns)))
    return rows // 256 * 256 if rows >= 256 else 1 << (rows.bit_length() - 1)


def _chunks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
