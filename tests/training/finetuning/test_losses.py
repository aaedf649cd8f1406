"""The losses against numbers worked by hand, and the sparse scores against dense ones."""

import math

import pytest
import torch
from torch import Tensor

from pyterrier_saesplade.model import Pooled
from pyterrier_saesplade.training.finetuning.losses import (
    contrastive,
    flops,
    kl_divergence,
    margin_mse,
    quadratic_warmup,
)
from pyterrier_saesplade.training.finetuning.scoring import score


def sparse(matrix: Tensor) -> Pooled:
    """Returns the nonzero entries of a dense matrix, in the form that the network returns."""
    texts, latents = matrix.nonzero(as_tuple=True)
    return Pooled(texts, latents, matrix[texts, latents], torch.zeros_like(texts))


def test_kl_divergence_by_hand() -> None:
    """softmax(0, ln 3) = (1/4, 3/4), softmax(0, 0) = (1/2, 1/2)."""
    teacher = torch.tensor([[0.0, math.log(3)], [1.0, 1.0]])
    student = torch.tensor([[5.0, 5.0], [1.0, 1.0]])
    expected = (0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5) + 0) / 2
    assert kl_divergence(student, teacher).item() == pytest.approx(expected)
    assert kl_divergence(teacher + 7, teacher).item() == pytest.approx(0, abs=1e-6)


def test_margin_mse_by_hand() -> None:
    """Margins of the student 1 and 3, of the teacher 2 and 1: ((1 - 2)² + (3 - 1)²) / 2."""
    assert margin_mse(torch.tensor([[4.0, 3.0, 1.0]]), torch.tensor([[9.0, 7.0, 8.0]])).item() == 2.5


def test_contrastive_by_hand() -> None:
    """softmax(0, ln 2, ln 5)[1] = 2/8; without the last, 2/3."""
    scores = torch.tensor([[0.0, math.log(2), math.log(5)]])
    assert contrastive(scores, torch.tensor([1])).item() == pytest.approx(math.log(4))
    ignored = torch.tensor([[False, False, True]])
    assert contrastive(scores, torch.tensor([1]), ignored).item() == pytest.approx(math.log(3 / 2))


def test_flops_by_hand() -> None:
    """Three texts, one of them empty: mean weights (1 + 2) / 3 and 6 / 3, squared 1 and 4."""
    vectors = sparse(torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 6.0], [0.0, 0.0, 0.0]]))
    assert flops(vectors, 3, 3).item() == 5


def test_flops_penalises_latents_that_many_texts_have() -> None:
    apart = flops(sparse(torch.eye(4)), 4, 4)
    together = flops(sparse(torch.eye(4)[[0, 0, 0, 0]]), 4, 4)
    assert together.item() == 4 * apart.item()


def test_the_penalty_grows_quadratically() -> None:
    grown = [quadratic_warmup(torch.tensor(step), 4).item() for step in (1, 2, 4, 9)]
    assert grown == [1 / 16, 1 / 4, 1, 1]
    assert quadratic_warmup(torch.tensor(1), 0).item() == 1


def test_scores_and_their_gradients_are_those_of_dense_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.rand(3, 40, generator=generator) * (torch.rand(3, 40, generator=generator) > 0.7)
    documents = torch.rand(5, 40, generator=generator) * (torch.rand(5, 40, generator=generator) > 0.5)
    documents[2] = 0  # a document without a latent
    queries.requires_grad_()
    documents.requires_grad_()
    upstream = torch.randn(3, 5, generator=generator)
    expected = queries @ documents.T
    dense = torch.autograd.grad((expected * upstream).sum(), [queries, documents])
    scores = score(sparse(queries), sparse(documents), 3, 5, 40)
    torch.testing.assert_close(scores, expected)
    for mine, of_dense, matrix in zip(
        torch.autograd.grad((scores * upstream).sum(), [queries, documents]), dense, (queries, documents), strict=True
    ):
        torch.testing.assert_close(mine, of_dense * (matrix != 0))


@pytest.mark.parametrize("empty", ["queries", "documents"])
def test_scores_of_texts_without_latents_are_zero(empty: str) -> None:
    queries, documents = torch.ones(2, 4), torch.ones(3, 4)
    {"queries": queries, "documents": documents}[empty].zero_()
    assert torch.equal(score(sparse(queries), sparse(documents), 2, 3, 4), torch.zeros(2, 3))
