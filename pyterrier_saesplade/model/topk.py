"""The head's linear map, computed only for the few outputs per token that are needed.

A dense head computes ``[tokens, M]`` pre-activations in the forward pass, and two more products of that size in the
backward pass. Here, the active latents are first selected without gradient, in chunks that fit a memory budget, and in
bfloat16 where the hardware supports it. The values of the selected latents are then recomputed in full precision by an
autograd function. Its backward pass is a gather for the input and a scatter-add for the weights.

The pre-activations are compared as integers of the same size, which makes finding maxima several times as fast.
Positive floats have the same order as their bit patterns, and all negative ones (and NaN with the sign bit set) map to
negative integers. The order among negative values is lost, but ReLU sets them to 0 anyway.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes for the pre-activations searched by one TopK, or for the states of one matrix product.
CHUNK_BYTES = 128 * 2**20
#: Bytes for pre-activations or gathered weights that are read only once: a few times the L2 cache of a CPU.
CACHE_BYTES = 16 * 2**20
#: Pre-activations per group. TopK first compares the groups' maxima.
_GROUP = 16
#: With at most this many rows, the weights are the first operand, because oneDNN copies the second into its own layout.
_FEW = 16
_memory = threading.local()
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Strongest(NamedTuple):
    """The ``k`` largest pre-activations of tokens.

    Attributes:
        latents: ``[T, k]``, by descending pre-activation. If fewer than ``k`` are positive, the others are arbitrary.
        values: ``[T, k]``, their pre-activations without gradient, if they were computed in the precision of the
            weights; otherwise ``None``.
    """

    latents: Tensor
    values: Tensor | None


class Active(NamedTuple):
    """The active latents of texts, sorted by text and latent.

    Attributes:
        texts: ``[n]``, the index of the text.
        latents: ``[n]``, ascending within a text.
        tokens: ``[n]``, the token with the largest pre-activation of the latent; the first one in case of ties.
    """

    texts: Tensor
    latents: Tensor
    tokens: Tensor


def search_factors(weight: Tensor, bias: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Returns weight and bias as one matrix, as the search multiplies it.

    The bias becomes an additional column, which saves a pass over the product.

    Args:
        weight: ``[M, d]``.
        bias: ``[M]``.
        dtype: The data type to compute in; ``None`` for that of ``weight``.
    """
    return _with_column(weight.detach(), bias.detach(), dtype or weight.dtype)


def select_topk(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    k: int,
    *,
    candidates: int | None = None,
    factors: Tensor | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Strongest:
    """Finds the ``k`` largest pre-activations of each token.

    Args:
        states: ``[T, d]``.
        weight: ``[M, d]``.
        bias: ``[M]``.
        k: The number of pre-activations to find.
        candidates: The number of candidates taken from the product. If it exceeds ``k``, their values are recomputed
            in the precision of the weights before the ``k`` largest are chosen. ``None`` means ``k``.
        factors: The result of :func:`search_factors`; ``None`` to compute them in the data type of the weights. In
            bfloat16, each operand and the result have a relative rounding error of at most 2^-8. A latent can therefore
            only be wrongly included or left out if it is within ``2^-6 * (|x| |w| + |b|)`` of the smallest candidate,
            or of 0 if that is larger.
        chunk_bytes: Memory for the pre-activations held at a time.

    Examples:
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> select_topk(torch.tensor([[1.0, 2.0]]), weight, torch.zeros(3), k=2).latents.tolist()
        [[2, 1]]
    """
    factors = search_factors(weight, bias) if factors is None else factors
    size = _chunk_size(chunk_bytes, len(weight), factors.dtype)
    operand, result = _operand(states, factors, size), _result(states, factors, size, len(factors))
    latents = torch.empty((len(states), k), dtype=torch.long, device=states.device)
    candidates = min(max(k, candidates or k), len(weight))
    exact = torch.empty((len(states), k), dtype=weight.dtype, device=states.device) if candidates > k else None
    for chunk in _chunks(len(states), size):
        keys = _product(operand, factors, chunk, result)
        best = _largest(keys, candidates)
        if exact is not None:
            values = selected_linear(states[chunk].detach(), weight.detach(), bias.detach(), best)
            exact[chunk], order = values.topk(k)
        else:
            order = keys.gather(1, best).topk(k).indices
        latents[chunk] = best.gather(1, order)
    return Strongest(latents, exact)


def select_active(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    bounds: list[int],
    *,
    factors: Tensor | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    cache_bytes: int = CACHE_BYTES,
) -> Active:
    """Finds, without TopK, all latents that are active in a text, and for each the token with the largest value.

    Args:
        states: ``[T, d]``, the tokens of all texts, concatenated.
        weight: ``[M, d]``.
        bias: ``[M]``.
        bounds: ``n + 1`` ascending offsets: text ``i`` has the tokens ``bounds[i]`` to ``bounds[i + 1] - 1``.
        factors: As in :func:`select_topk`. In bfloat16, the value of the token found may fall short of the largest, and
            a latent with a largest value close to 0 may be missed, both within the margin given there.
        chunk_bytes: Memory for the states of one product; a single text may exceed it.
        cache_bytes: Memory for the pre-activations held at a time on a CPU. Other devices use ``chunk_bytes``.

    Examples:
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> active = select_active(torch.tensor([[1.0, -1.0], [2.0, 0.0]]), weight, torch.zeros(3), bounds=[0, 2])
        >>> active.latents.tolist(), active.tokens.tolist()
        ([0, 2], [1, 1])
    """
    factors = search_factors(weight, bias) if factors is None else factors
    cache_bytes = cache_bytes if states.device.type == "cpu" else chunk_bytes
    found = [
        block
        for texts in _groups(bounds, _chunk_size(chunk_bytes, factors.shape[1], factors.dtype))
        for block in _active(states, factors, bounds, texts, cache_bytes)
    ]
    if len(found) == 1:
        return found[0]  # already sorted
    if not found:
        return Active(*(torch.empty(0, dtype=torch.long, device=states.device) for _ in Active._fields))
    texts, latents, tokens = (torch.cat(parts) for parts in zip(*found, strict=True))
    order = (texts * len(weight) + latents).argsort()
    return Active(texts[order], latents[order], tokens[order])


def _active(states: Tensor, factors: Tensor, bounds: list[int], texts: range, cache_bytes: int) -> Iterator[Active]:
    """Yields the active latents of one group of texts, for one block of latents at a time."""
    # Texts are padded to the longest by repeating their last token, which does not change the maximum.
    starts = np.array(bounds[texts.start : texts.stop + 1])
    lengths = np.diff(starts)[:, None]
    padded = starts[:-1, None] + np.minimum(np.arange(lengths.max()), lengths - 1)
    places = torch.from_numpy(padded).to(states.device)
    count = places.numel()
    rows = _rounded(count)
    columns = max(1, cache_bytes // (factors.dtype.itemsize * rows))
    columns = 1 << (columns.bit_length() - 1)
    operand = _operand(states[places.flatten()], factors, rows)
    result = _result(operand, factors, rows, min(columns, len(factors)))
    for block in _chunks(len(factors), columns):
        keys = _product(operand, factors[block], slice(0, count), result).view(*places.shape, -1)
        row, latent = _positive(keys.amax(1))
        strongest = keys[row, :, latent].argmax(1)
        yield Active(row + texts.start, latent + block.start, places[row, strongest])


def _positive(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows and columns of positive entries, row by row."""
    if keys.device.type == "cpu":  # if few entries are positive, NumPy takes a third of the time
        places = np.divmod(np.flatnonzero(keys.numpy() > 0), keys.shape[1])
        rows, columns = map(torch.from_numpy, places)
    else:
        rows, columns = (keys > 0).nonzero(as_tuple=True)
    return rows, columns


def _largest(keys: Tensor, k: int) -> Tensor:
    """Returns the columns ``[n, k]`` of the ``k`` largest entries of each row, in any order.

    All of them lie in the ``k`` groups with the largest maxima.
    """
    groups = keys.shape[1] // _GROUP
    if groups < 2 * k:
        return keys.topk(k, sorted=False).indices
    grouped = groups * _GROUP
    maxima = keys[:, :grouped].view(-1, _GROUP, groups).amax(1)
    best = _largest(maxima, k)
    members = torch.arange(0, grouped, groups, device=keys.device).view(1, -1, 1)
    rest = torch.arange(grouped, keys.shape[1], device=keys.device).expand(len(keys), -1)
    columns = torch.cat([(best.unsqueeze(1) + members).flatten(1), rest], 1)
    return columns.gather(1, keys.gather(1, columns).topk(k, sorted=False).indices)


def selected_linear(
    states: Tensor, weight: Tensor, bias: Tensor, latents: Tensor, *, chunk_bytes: int | None = None
) -> Tensor:
    """Computes selected outputs of ``states @ weight.T + bias`` in the precision of the weights, differentiably.

    Args:
        states: ``[T, d]``.
        weight: ``[M, d]``.
        bias: ``[M]``.
        latents: ``[T, k]``, the outputs to compute for each token.
        chunk_bytes: Memory for the weights gathered at a time; ``None`` for :data:`CACHE_BYTES` on a CPU and
            :data:`CHUNK_BYTES` elsewhere.

    Returns:
        ``[T, k]`` pre-activations.

    Examples:
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> selected_linear(torch.tensor([[1.0, 2.0]]), weight, torch.zeros(3), torch.tensor([[2, 0]])).tolist()
        [[3.0, 1.0]]
    """
    if chunk_bytes is None:
        chunk_bytes = CACHE_BYTES if states.device.type == "cpu" else CHUNK_BYTES
    with torch.autocast(states.device.type, enabled=False):
        states = states.to(weight.dtype)
        values: Tensor = _SelectedLinear.apply(states, weight, bias, latents, chunk_bytes)
    return values


def _operand(states: Tensor, factors: Tensor, size: int) -> Tensor:
    """Returns the states as an operand of the product, padded so that the last chunk of ``size`` rows is rounded up."""
    rest = len(states) % size
    return _with_column(states.detach(), 1.0, factors.dtype, extra_rows=_rounded(rest) - rest)


def _result(states: Tensor, factors: Tensor, size: int, columns: int) -> Tensor:
    """Returns memory for the product of one chunk.

    On a CPU, each thread reuses a buffer of up to :data:`CHUNK_BYTES`, because allocating fresh pages costs more than
    half as much as the product.
    """
    length = _rounded(min(size, len(states))) * columns
    if factors.device.type != "cpu" or length * factors.dtype.itemsize > CHUNK_BYTES:
        return torch.empty(length, dtype=factors.dtype, device=factors.device)
    length *= factors.dtype.itemsize
    kept: Tensor | None = getattr(_memory, "kept", None)
    if kept is None or len(kept) < length:
        with torch.inference_mode(False):
            kept = _memory.kept = torch.empty(length, dtype=torch.uint8, device="cpu")
    return kept[:length].view(factors.dtype)


def _product(operand: Tensor, factors: Tensor, chunk: slice, result: Tensor) -> Tensor:
    """Returns the pre-activations of a chunk as integers (see the module's docstring), valid until the next call.

    Chunk lengths are rounded, because oneDNN caches a workspace as large as the weights for each shape it has seen, for
    up to 1,024 shapes.
    """
    rows = _rounded(chunk.stop - chunk.start)
    states, memory = operand[chunk.start : chunk.start + rows], result[: rows * len(factors)]
    with torch.no_grad(), torch.autocast(operand.device.type, enabled=False):
        if rows <= _FEW:
            product = torch.mm(factors, states.T, out=memory.view(len(factors), rows)).T
        else:
            product = torch.mm(states, factors.T, out=memory.view(rows, len(factors)))
    return product.view(_INTEGERS[factors.dtype.itemsize])[: chunk.stop - chunk.start]


def _rounded(rows: int) -> int:
    """Rounds up to a power of two or, above 512, to a multiple of 512."""
    return 1 << (rows - 1).bit_length() if 0 < rows <= 512 else -(-rows // 512) * 512


def _with_column(matrix: Tensor, column: Tensor | float, dtype: torch.dtype, extra_rows: int = 0) -> Tensor:
    """Copies a matrix to ``dtype`` with an extra column, padded with zeros to a multiple of 8 for faster products."""
    rows, columns = matrix.shape
    wider = torch.zeros((rows + extra_rows, (columns // 8 + 1) * 8), dtype=dtype, device=matrix.device)
    wider[:rows, :columns] = matrix
    wider[:rows, columns] = column
    return wider


def _groups(bounds: list[int], size: int) -> Iterator[range]:
    """Splits the texts into contiguous groups of non-empty texts; empty texts are skipped.

    Padded to its longest text, a group has at most ``size`` tokens, unless it is a single text.
    """
    first, longest = 0, 0
    for i, (start, stop) in enumerate(pairwise(bounds)):
        length = stop - start
        if first < i and (length == 0 or (i + 1 - first) * max(longest, length) > size):
            yield range(first, i)
            first, longest = i, 0
        longest = max(longest, length)
        if length == 0:
            first = i + 1
    if first < len(bounds) - 1:
        yield range(first, len(bounds) - 1)


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
    """Returns the number of rows that fit in ``chunk_bytes``: at least one, and a value that :func:`_rounded` keeps."""
    rows = max(1, chunk_bytes // (dtype.itemsize * max(1, columns)))
    return rows // 512 * 512 if rows >= 512 else 1 << (rows.bit_length() - 1)


def _chunks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
