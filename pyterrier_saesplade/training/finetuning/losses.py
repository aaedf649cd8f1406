"""The losses of fine-tuning, which are functions of scores or sparse vectors (paper, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

if TYPE_CHECKING:
    from pyterrier_saesplade.model import Pooled


def kl_divergence(scores: Tensor, teacher: Tensor) -> Tensor:
    """Returns the KL divergence of the student's distribution over a query's passages from the teacher's.

    Args:
        scores: ``[B, n]``, the student's scores.
        teacher: ``[B, n]``, the teacher's scores, in the same order.

    Returns:
        Mean over the queries of ``Σ_i t_i (ln t_i - ln s_i)``, where ``t`` and ``s`` are the softmaxes of the teacher's
        and the student's scores.

    Examples:
        >>> kl_divergence(torch.tensor([[3.0, 1.0]]), torch.tensor([[13.0, 11.0]]))
        tensor(0.)

    References:
        Lin et al., In-Batch Negatives for Knowledge Distillation with Tightly-Coupled Teachers, RepL4NLP 2021.
    """
    return functional.kl_div(scores.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)


def margin_mse(scores: Tensor, teacher: Tensor) -> Tensor:
    """Returns the squared error of the margins between the positive and each of the other passages.

    Args:
        scores: ``[B, n]``, the student's scores; the first passage is the positive.
        teacher: ``[B, n]``, the teacher's scores, in the same order.

    Returns:
        Mean over the queries and their ``n - 1`` margins.

    Examples:
        >>> margin_mse(torch.tensor([[3.0, 1.0]]), torch.tensor([[9.0, 4.0]]))
        tensor(9.)

    References:
        Hofstätter et al., Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation,
        2020.
    """
    return functional.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])


def contrastive(scores: Tensor, positives: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Returns InfoNCE, the cross-entropy of choosing the positive among all passages.

    Args:
        scores: ``[B, N]``, the scores of each query.
        positives: ``[B]``, the column of each query's positive.
        ignored: ``[B, N]``, passages that must not be used as negatives of a query, such as its other positives.

    Returns:
        Mean over the queries of ``-ln softmax(scores)[positive]``.

    Examples:
        >>> contrastive(torch.tensor([[0.0, 0.0, 5.0]]), torch.tensor([0]), torch.tensor([[False, False, True]]))
        tensor(0.6931)

    References:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018.
    """
    if ignored is not None:
        scores = scores.masked_fill(ignored, float("-inf"))
    return functional.cross_entropy(scores, positives)


def flops(vectors: Pooled, texts: int, width: int) -> Tensor:
    """Returns the FLOPS penalty: the sum over latents of their squared mean weight.

    In distributed training the mean is taken over the texts of all processes, and all processes get the same penalty.
    With a separate mean per process, the penalty and the sparsity would depend on the number of processes.

    Args:
        vectors: The vectors of a batch.
        texts: Number of texts in the batch, including texts without an active latent; the same in every process.
        width: Number of latents, M.

    Returns:
        ``Σ_j (Σ_i w_ij / texts)²``.

    Examples:
        >>> texts, latents = torch.tensor([0, 0, 1]), torch.tensor([2, 5, 2])
        >>> vectors = Pooled(texts, latents, torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3))
        >>> flops(vectors, texts=2, width=8)
        tensor(5.)

    References:
        Paria et al., Minimizing FLOPs to Learn Efficient Sparse Representations, ICLR 2020.
    """
    sums = vectors.values.new_zeros(width).index_add(0, vectors.latents, vectors.values)
    processes = distributed.get_world_size() if distributed.is_initialized() else 1
    if processes > 1:
        sums = _SumOverProcesses.apply(sums)
    return (sums / (texts * processes)).square().sum()


def quadratic_warmup(step: Tensor, steps: int) -> Tensor:
    """Returns the factor of a penalty's weight at a step, ``min(1, step / steps)²``; the first step is 1."""
    return (step / max(1, steps)).clamp(max=1).square()


class _SumOverProcesses(torch.autograd.Function):
    """A sum over all processes, for a loss that every process computes from the same sum.

    Distributed training averages the gradients of the processes, but this loss needs their sum. Therefore the gradient
    is multiplied by the number of processes.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * distributed.get_world_size()
