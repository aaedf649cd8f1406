"""The sparse head against the dense computation it replaces."""

import copy
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pyterrier_saesplade.model import SparseHead, max_pool, search_factors, select_topk, selected_linear
from pyterrier_saesplade.model.topk import select_active

T, D, M, K = 37, 24, 120, 5


def inputs(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    states, weight, bias = (torch.randn(*shape, generator=generator, dtype=dtype) for shape in ((T, D), (M, D), (M,)))
    return states.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def dense_topk(states: Tensor, weight: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, latents = (states @ weight.T + bias).topk(k)
    return values, latents


@pytest.mark.parametrize("chunk_bytes", [1, 4 * M * 7, 4 * M * T, 2**26])
def test_values_and_all_gradients_equal_the_dense_computation(chunk_bytes: int) -> None:
    states, weight, bias = inputs()
    upstream = torch.randn(T, K, generator=torch.Generator().manual_seed(1))
    values, latents = dense_topk(states, weight, bias, K)
    expected = torch.autograd.grad((torch.relu(values) * upstream).sum(), (states, weight, bias))

    chosen = select_topk(states, weight, bias, K, chunk_bytes=chunk_bytes).latents
    sparse = selected_linear(states, weight, bias, chosen, chunk_bytes=chunk_bytes)
    actual = torch.autograd.grad((torch.relu(sparse) * upstream).sum(), (states, weight, bias))

    assert torch.equal(chosen, latents)
    torch.testing.assert_close(sparse, values, rtol=1e-5, atol=1e-5)
    for mine, dense in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, dense, rtol=1e-5, atol=1e-5)


def test_gradcheck() -> None:
    """With 2 tokens per chunk."""
    states, weight, bias = (tensor.detach() for tensor in inputs(torch.float64))
    parts = [part.requires_grad_() for part in (states[:7, :6].clone(), weight[:40, :6].clone(), bias[:40].clone())]
    latents = select_topk(*parts, K).latents
    assert torch.autograd.gradcheck(
        lambda *arguments: selected_linear(*arguments, latents, chunk_bytes=2 * K * 6 * 8), parts
    )


@pytest.mark.parametrize("seed", range(5))
def test_bfloat16_chooses_other_latents_only_near_the_kth_value(seed: int) -> None:
    states, weight, bias = (tensor.detach() for tensor in inputs(seed=seed))
    exact = states @ weight.T + bias
    kth = exact.topk(K).values[:, -1:]
    latents = select_topk(states, weight, bias, K, factors=search_factors(weight, bias, torch.bfloat16)).latents
    margin = 2**-6 * (states.norm(dim=1, keepdim=True) * weight.norm(dim=1).max() + bias.abs().max())

    chosen = exact.gather(1, latents)
    assert (chosen >= kth - margin).all()
    left_out = exact.scatter(1, latents, float("-inf"))
    assert (left_out.amax(1, keepdim=True) <= kth + margin).all()
    # The values themselves are those of float32, whatever chose them.
    torch.testing.assert_close(selected_linear(states, weight, bias, latents), chosen, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_more_candidates_make_bfloat16_exact(seed: int) -> None:
    states, weight, bias = (tensor.detach() for tensor in inputs(seed=seed))
    factors = search_factors(weight, bias, torch.bfloat16)
    found = select_topk(states, weight, bias, K, candidates=4 * K, factors=factors, chunk_bytes=2 * M * 8)
    expected = (states @ weight.T + bias).topk(K)
    assert torch.equal(found.latents, expected.indices)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-5, atol=1e-5)
    assert select_topk(states, weight, bias, K, factors=factors).values is None
    assert torch.equal(
        select_topk(states, weight, bias, M, candidates=2 * M).latents.sort(1).values, torch.arange(M).expand(T, M)
    )


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 32 * 12, 2**26])
@pytest.mark.parametrize("cache_bytes", [1, 4 * M * 7, 2**26])
def test_without_topk_every_active_latent_of_a_text_is_found(chunk_bytes: int, cache_bytes: int) -> None:
    states, weight, bias = (tensor.detach() for tensor in inputs())
    bounds = [0, 0, 10, 10, 11, 20, T, T]
    active = select_active(states, weight, bias, bounds, chunk_bytes=chunk_bytes, cache_bytes=cache_bytes)
    dense = states @ weight.T + bias
    expected = []
    for text, (start, stop) in enumerate(pairwise(bounds)):
        if stop > start:
            best = dense[start:stop].max(0)
            expected += [(text, j, int(best.indices[j]) + start) for j in range(M) if best.values[j] > 0]
    assert list(zip(*(found.tolist() for found in active), strict=True)) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("width", [16 * 16 * 4, 16 * 16 * 4 + 5, 50])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_the_largest_are_found_by_groups(width: int, k: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    states, weight = torch.eye(T, dtype=dtype), torch.randn(width, T, generator=generator).abs().to(dtype)
    latents = select_topk(states, weight, torch.zeros(width, dtype=dtype), k).latents
    dense = weight.T
    assert latents.sort(1).values.diff(dim=1).ne(0).all()
    assert torch.equal(dense.gather(1, latents), dense.topk(k).values)


def test_negative_values_are_never_preferred() -> None:
    states = torch.ones(3, 1)
    weight = torch.full((4096, 1), -1.0)
    weight[[5, 700, 4000], 0] = torch.tensor([0.25, 2.0, 0.5])
    for dtype in (torch.bfloat16, torch.float32):
        factors = search_factors(weight, torch.zeros(4096), dtype)
        latents = select_topk(states, weight, torch.zeros(4096), 5, factors=factors).latents
        assert latents[:, :3].tolist() == [[700, 4000, 5]] * 3


@pytest.mark.parametrize("change", ["step", "copy", "replace", "narrow"])
def test_a_search_sees_weights_that_changed(change: str) -> None:
    torch.manual_seed(0)
    head = SparseHead(M, D).eval()
    head.keeps_factors = True
    states, bounds = torch.randn(T, D), [0, 12, T]
    with torch.inference_mode():
        head.pool(states, bounds, None)
    if change == "step":
        optimizer = torch.optim.AdamW(head.parameters(), lr=1.0, fused=True)
        head.pool(states, bounds, None).values.sum().backward()
        optimizer.step()
    elif change == "copy":
        with torch.no_grad():
            head.W_enc.copy_(-head.W_enc)
    elif change == "replace":
        head.W_enc = torch.nn.Parameter(-head.W_enc.detach())
    else:
        head.narrow(M // 2)
    fresh = SparseHead(len(head.W_enc), D).eval()
    fresh.load_state_dict(head.state_dict())
    with torch.inference_mode():
        found, expected = head.pool(states, bounds, None), fresh.pool(states, bounds, None)
    assert all(map(torch.equal, found, expected))


def test_what_a_head_keeps_is_used_and_not_copied() -> None:
    head = SparseHead(M, D).eval()
    states, bounds = torch.randn(T, D), [0, 12, T]
    with torch.inference_mode():
        head.pool(states, bounds, None)
        assert head._kept is None
        head.keeps_factors = True
        head.pool(states, bounds, None)
        kept = head._kept
        head.pool(states, bounds, 3)
    assert kept is not None
    assert head._kept is kept
    assert copy.deepcopy(head)._kept is None
    head.narrow(M // 2)
    assert head._kept is None


def test_a_head_made_in_inference_mode() -> None:
    with torch.inference_mode():
        head = SparseHead(M, D).eval()
        head.keeps_factors = True
        first = head.pool(torch.ones(2, D), [0, 2], None)
        head.W_enc.mul_(-1)
        second = head.pool(torch.ones(2, D), [0, 2], None)
    assert not set(first.latents.tolist()) & set(second.latents.tolist())


def test_threads_do_not_share_memory() -> None:
    given = [[tensor.detach() for tensor in inputs(seed=seed)] for seed in range(2)]
    bounds = [0, 10, T]
    expected = [select_active(*each, bounds) for each in given]
    assert not torch.equal(expected[0].tokens, expected[1].tokens)

    def search(i: int) -> bool:
        return all(map(torch.equal, select_active(*given[i % 2], bounds), expected[i % 2]))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(search, range(200)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_of_equal_tokens_the_first_is_found(dtype: torch.dtype) -> None:
    states = torch.randn(1, D).expand(9, D).contiguous()
    weight, bias = torch.randn(M, D), torch.randn(M)
    active = select_active(states, weight, bias, [0, 4, 9], factors=search_factors(weight, bias, dtype))
    assert set(zip(active.texts.tolist(), active.tokens.tolist(), strict=True)) == {(0, 0), (1, 4)}


def test_no_tokens() -> None:
    _, weight, bias = inputs()
    assert select_topk(torch.empty(0, D), weight, bias, K).latents.shape == (0, K)
    for found in select_active(torch.empty(0, D), weight, bias, [0]):
        assert found.shape == (0,)


def test_pooling_takes_the_strongest_and_of_equals_the_first() -> None:
    values = torch.tensor([[1.0, 3.0], [3.0, 0.0], [2.0, 2.0], [5.0, -1.0]])
    latents = torch.tensor([[4, 7], [7, 1], [4, 7], [7, 0]])
    pooled = max_pool(values, latents, texts=torch.tensor([0, 0, 0, 1]), width=8)
    assert pooled.texts.tolist() == [0, 0, 1]
    assert pooled.latents.tolist() == [4, 7, 7]
    assert pooled.values.tolist() == [2.0, 3.0, 5.0]
    assert pooled.tokens.tolist() == [2, 0, 3]


@pytest.mark.parametrize("k", [3, M, None])
def test_pooled_gradients_equal_the_dense_computation(k: int | None) -> None:
    torch.manual_seed(0)
    head = SparseHead(M, D)
    head.b_enc.data.normal_()
    head.b_dec.data.normal_()
    states = torch.randn(T, D, requires_grad=True)
    bounds = [0, 12, T]

    dense = (states - head.b_dec) @ head.W_enc.T + head.b_enc
    if k is not None:
        best = dense.topk(k)
        dense = torch.zeros_like(dense).scatter(1, best.indices, best.values)
    texts = torch.stack([torch.relu(dense[start:stop]).amax(0) for start, stop in ((0, 12), (12, T))])
    parameters = (states, head.W_enc, head.b_enc, head.b_dec)
    expected = torch.autograd.grad(torch.log1p(texts).square().sum(), parameters)

    pooled = head.pool(states, bounds, k)
    actual = torch.autograd.grad(torch.log1p(pooled.values).square().sum(), parameters)

    rows = torch.zeros_like(texts).index_put((pooled.texts, pooled.latents), pooled.values)
    torch.testing.assert_close(rows, texts, rtol=1e-5, atol=1e-5)
    for mine, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)
