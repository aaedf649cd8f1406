"""The autoencoder's loss against its formula, and its initialisation from data."""

import pytest
import torch

from pyterrier_saesplade.model import SparseHead, heads
from pyterrier_saesplade.training import PretrainConfig
from pyterrier_saesplade.training.pretraining import decode
from pyterrier_saesplade.training.pretraining.autoencoder import SparseAutoencoder, initialise_from_data

T, D, M, K = 64, 16, 96, 4


@pytest.fixture
def autoencoder() -> SparseAutoencoder:
    torch.manual_seed(0)
    head = SparseHead(M, D, decoder=True)
    head.b_dec.data.normal_()
    return SparseAutoencoder(head, PretrainConfig(width=M, k=K), dead_after=100)


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(T, D, generator=torch.Generator().manual_seed(1))


def dense_reconstruction(autoencoder: SparseAutoencoder, states: torch.Tensor) -> torch.Tensor:
    head = autoencoder.head
    best = ((states - head.b_dec) @ head.W_enc.T + head.b_enc).topk(K)
    activations = torch.zeros(T, M).scatter(1, best.indices, torch.relu(best.values))
    return activations @ autoencoder.head.dictionary + head.b_dec


def test_loss_and_gradients_are_the_formulas(autoencoder: SparseAutoencoder, states: torch.Tensor) -> None:
    parameters = list(autoencoder.parameters())
    expected = (states - dense_reconstruction(autoencoder, states)).square().sum(1).mean()
    gradients = torch.autograd.grad(expected, parameters)
    output = autoencoder(states)
    torch.testing.assert_close(output.loss, expected)
    for mine, dense in zip(torch.autograd.grad(output.loss, parameters), gradients, strict=True):
        torch.testing.assert_close(mine, dense, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.variance, states.var(0, correction=0).sum())
    assert output.dead == 0


def test_auxiliary_loss_lets_dead_latents_explain_the_residual(
    autoencoder: SparseAutoencoder, states: torch.Tensor
) -> None:
    dead = torch.arange(0, M, 3)
    autoencoder.inactive[dead] = 100
    autoencoder.eval()  # counts stay as they are
    head = autoencoder.head
    residual = (states - dense_reconstruction(autoencoder, states)).detach()
    best = ((states - head.b_dec) @ head.W_enc[dead].T + head.b_enc[dead]).topk(2 * K)
    revived = (
        torch.zeros(T, len(dead)).scatter(1, best.indices, torch.relu(best.values)) @ autoencoder.head.dictionary[dead]
    )
    auxiliary = (residual - revived).square().sum(1).mean()

    output = autoencoder(states)
    torch.testing.assert_close(output.loss, output.reconstruction + auxiliary / 16)
    torch.testing.assert_close(output.dead, torch.tensor(len(dead) / M))
    gradient = torch.autograd.grad(auxiliary / 16, head.W_enc)[0]
    plain = torch.autograd.grad(
        (states - dense_reconstruction(autoencoder, states)).square().sum(1).mean(), head.W_enc
    )[0]
    torch.testing.assert_close(torch.autograd.grad(output.loss, head.W_enc)[0], plain + gradient, rtol=1e-4, atol=1e-5)


def test_inactive_latents_are_counted_in_tokens(autoencoder: SparseAutoencoder, states: torch.Tensor) -> None:
    autoencoder.train()
    autoencoder(states)
    active = ((states - autoencoder.head.b_dec) @ autoencoder.head.W_enc.T).topk(K).indices.unique()
    expected = torch.full((M,), T)
    expected[active] = 0
    assert torch.equal(autoencoder.inactive, expected)


def test_the_dictionary_moves_on_the_sphere(
    autoencoder: SparseAutoencoder, states: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_ROWS", 40)  # several parts, the last a smaller one
    autoencoder(states).loss.backward()
    autoencoder.head.project_gradient()
    gradient = autoencoder.head.dictionary.grad
    assert gradient is not None
    torch.testing.assert_close((gradient * autoencoder.head.dictionary).sum(1), torch.zeros(M), rtol=0, atol=1e-5)
    autoencoder.head.dictionary.data -= 0.1 * gradient
    autoencoder.head.normalise_dictionary()
    torch.testing.assert_close(autoencoder.head.dictionary.norm(dim=1), torch.ones(M))


def test_decode_sums_weighted_rows() -> None:
    dictionary = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert decode(torch.tensor([[2.0, 3.0]]), torch.tensor([[0, 2]]), dictionary).tolist() == [[5.0, 3.0]]


@pytest.mark.parametrize("tokens", [20, 500])
def test_start_from_data(tokens: int) -> None:
    states = torch.randn(tokens, D, generator=torch.Generator().manual_seed(2)) + 3
    head = SparseHead(M, D, decoder=True)
    initialise_from_data(head, states, torch.Generator().manual_seed(0))
    assert head.W_dec is not None
    torch.testing.assert_close(head.b_dec, states.mean(0))
    torch.testing.assert_close(head.W_dec.norm(dim=1), torch.ones(M))
    torch.testing.assert_close(head.W_enc, head.W_dec / 2)
    # Every row has the direction of a state, up to 2 % of noise. No two rows are equal.
    centred = torch.nn.functional.normalize(states - states.mean(0), dim=1)
    assert ((head.W_dec @ centred.T).amax(1) > 0.999).all()
    assert ((head.W_dec @ head.W_dec.T).fill_diagonal_(0) < 1).all()


def test_linear_start_is_the_papers() -> None:
    head = SparseHead(M, D, decoder=True)
    assert head.W_dec is not None
    torch.testing.assert_close(head.W_dec, torch.nn.functional.normalize(head.W_enc, dim=1))
    assert head.W_enc.abs().max() <= D**-0.5
    assert not head.b_enc.any()
    assert not head.b_dec.any()


def dense_activations(autoencoder: SparseAutoencoder, states: torch.Tensor) -> torch.Tensor:
    head = autoencoder.head
    best = ((states - head.b_dec) @ head.W_enc.T + head.b_enc).topk(K)
    return torch.zeros(T, M).scatter(1, best.indices, torch.relu(best.values))


def with_settings(autoencoder: SparseAutoencoder, **settings: object) -> SparseAutoencoder:
    return SparseAutoencoder(autoencoder.head, PretrainConfig(width=M, k=K, **settings), dead_after=100)


def test_the_hierarchical_loss_is_the_mean_over_smaller_k(autoencoder: SparseAutoencoder, states: torch.Tensor) -> None:
    hierarchical = with_settings(autoencoder, variant="hierarchical")
    hierarchical.inactive.fill_(1000)  # all dead: it has no auxiliary loss
    head, errors = autoencoder.head, []
    activations = dense_activations(autoencoder, states)
    for j in range(1, K + 1):
        strongest = activations.topk(j)
        kept = torch.zeros_like(activations).scatter(1, strongest.indices, strongest.values)
        errors.append((states - head.b_dec - kept @ head.dictionary).square().sum(1).mean())
    expected = torch.stack(errors).mean()
    output = hierarchical(states)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.reconstruction, errors[-1])
    mine = torch.autograd.grad(output.loss, list(head.parameters()))
    for gradient, dense in zip(mine, torch.autograd.grad(expected, list(head.parameters())), strict=True):
        torch.testing.assert_close(gradient, dense, rtol=1e-4, atol=1e-5)


def test_the_matryoshka_loss_is_the_mean_over_prefixes(autoencoder: SparseAutoencoder, states: torch.Tensor) -> None:
    prefixes = (8, 32, M)
    matryoshka = with_settings(autoencoder, variant="matryoshka", prefixes=prefixes)
    head = autoencoder.head
    activations = dense_activations(autoencoder, states)
    errors = [
        (states - head.b_dec - activations[:, :width] @ head.dictionary[:width]).square().sum(1).mean()
        for width in prefixes
    ]
    output = matryoshka(states)
    torch.testing.assert_close(output.loss, torch.stack(errors).mean())
    torch.testing.assert_close(output.reconstruction, errors[-1])
    matryoshka.inactive[::2] = 1000
    assert matryoshka(states).loss > output.loss, "it keeps the auxiliary loss"


def test_each_tokens_error_can_be_divided_by_its_norm(autoencoder: SparseAutoencoder, states: torch.Tensor) -> None:
    states = states * torch.linspace(0.1, 10, T).unsqueeze(1)
    errors = (states - dense_reconstruction(autoencoder, states)).square().sum(1)
    expected = (errors / states.square().sum(1)).mean()
    output = with_settings(autoencoder, normalise_error=True)(states)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.reconstruction, errors.mean())
