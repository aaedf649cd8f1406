"""The losses of fine-tuning, each a function of scores or of sparse vectors (paper, section 3.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

from pyterrier_saesplade.model import Pooled


def kl_divergence(scores: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of the student's choice among a query's passages from the teacher's.

    Args:
        scores: ``[B, n]``, the student's.
        teacher: ``[B, n]``, the teacher's, in the same order.

    Returns:
        Mean over the queries of ``Σ_i t_i (ln t_i - ln s_i)``, where ``t`` and ``s`` are the softmaxes of the scores.

    References:
        Lin et al., In-Batch Negatives for Knowledge Distillation with Tightly-Coupled Teachers, RepL4NLP 2021.
    """
    return functional.kl_div(scores.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)


def margin_mse(scores: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of the margins between the first passage, the positive, and each of the others.

    Args:
        scores: ``[B, n]``, the student's; the positive first.
        teacher: ``[B, n]``, the teacher's.

    Returns:
        Mean over the queries and their ``n - 1`` margins.

    References:
        Hofstätter et al., Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation,
        2020.
    """
    return functional.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])


def contrastive(scores: Tensor, positives: Tensor, ignored: Tensor | None = None) -> Tensor:
    """InfoNCE: how far a query is from choosing its positive among all that it is scored against.

    Args:
        scores: ``[B, N]``.
        positives: ``[B]``, the column of each query's positive.
        ignored: ``[B, N]``, columns that are no negatives of a query, such as further passages that answer it.

    Returns:
        Mean over the queries of ``-ln softmax(scores)[positive]``.

    References:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018.
    """
    if ignored is not None:
        scores = scores.masked_fill(ignored, float("-inf"))
    return functional.cross_entropy(scores, positives)


def flops(vectors: Pooled, texts: int, width: int) -> Tensor:
    """The FLOPS penalty: the sum over latents of their squared mean weight.

    Under distributed training the mean is that of the texts of all processes, which all get the same penalty: with the
    mean of each process's own the penalty, and the sparsity, would depend on how many there are.

    Args:
        vectors: The vectors of a batch.
        texts: How many texts it has, those without a latent included; the same in every process.
        width: The number of latents, M.

    Returns:
        ``Σ_j (Σ_i w_ij / texts)²``.

    References:
        Paria et al., Minimizing FLOPs to Learn Efficient Sparse Representations, ICLR 2020.
    """
    sums = vectors.values.new_zeros(width).index_add(0, vectors.latents, vectors.values)
    processes = distributed.get_world_size() if distributed.is_initialized() else 1
    if processes > 1:
        sums = _SumOverProcesses.apply(sums)
    return (sums / (texts * processes)).square().sum()


def quadratic_warmup(step: Tensor, steps: int) -> Tensor:
    """Returns the share of a penalty's weight that counts at a step, counted from 1: ``min(1, step / steps)²``."""
    return (step / max(1, steps)).clamp(max=1).square()


class _SumOverProcesses(torch.autograd.Function):
    """A sum over all processes, of which each computes the same loss.

    Distributed training takes the mean of the processes' gradients, where this loss wants their sum; so the gradient
    is as many times larger as there are processes.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * distributed.get_world_size()
