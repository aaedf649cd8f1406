"""Measures time and peak memory of one pre-training step of a sparse autoencoder on a CPU, ours and other packages'.

All systems start from the same weights and see the same token states. Each does what its own trainer does in a step:
the loss, its gradient, the optimiser, and any normalisation of the decoder. No latent is dead, so none has an auxiliary
loss. The systems take turns, each in a separate process. Before the measurement, a check requires that all give the
same reconstruction error and gradients of encoder and decoder in float32. The deviation of bfloat16 is recorded.

- pyterrier_saesplade: the step of ``pretrain``, which searches latents in bfloat16 where the CPU supports it.
- pyterrier_saesplade float32: the same in float32.
- sae-lens: ``SAETrainer.step`` of a ``TopKTrainingSAE`` with its defaults: float32, dense activations, Adam.
- sae-lens sparse: the same with its option for sparse activations. It requires rescaling by the decoder's norms to be
  off, because the backward pass fails with both.
- sae-lens bfloat16: the same as the first, with its option for autocast.
- sparsify: what ``sparsify.Trainer`` does around a ``SparseCoder`` with its defaults, without Triton, which needs a
  GPU. Its optimiser, schedule-free SignSGD, keeps one tensor for each weight where Adam keeps two.
- dense: our step with a loss in plain PyTorch: all pre-activations, TopK, a scatter into [tokens, M], a product with
  the decoder, and autograd. In float32.
- gemm: not a step but a lower bound, the product of the states and the encoder alone, in bfloat16 where the CPU
  supports it.

Usage::

    pip install sae-lens eai-sparsify
    python benchmarks/pretrain_step.py --rounds 3
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import rounds
import torch
import typer
from torch import Tensor

from pyterrier_saesplade.encoding import pick_dtype
from pyterrier_saesplade.model import SparseHead
from pyterrier_saesplade.training import PretrainConfig
from pyterrier_saesplade.training.pretraining.autoencoder import SparseAutoencoder
from pyterrier_saesplade.types import Precision

OURS, EXACT = "pyterrier_saesplade", "pyterrier_saesplade float32"
SAE_LENS_BFLOAT16 = "sae-lens bfloat16"
DIMENSION = 384
_WARMUP = 1
GEMM, _CHECK = "gemm", "check"
_CHECKED_WIDTH, _CHECKED_TOKENS = 4096, 1024
#: Allowed relative distance of errors and gradients from ours, because float32 sums depend on their order.
_TOLERANCE = 1e-4

Weights = dict[str, Tensor]


class System(NamedTuple):
    """A system with its weights in place.

    Attributes:
        reconstruction: The mean over tokens of the squared error, summed over the dimensions, with its graph.
        gradients: Those of encoder and decoder, both ``[M, d]``, after the backward pass.
        step: One step of training.
    """

    reconstruction: Callable[[Tensor], Tensor]
    gradients: Callable[[], tuple[Tensor, Tensor]]
    step: Callable[[Tensor], object]


def random_weights(width: int) -> Weights:
    """Returns initial weights: a dictionary with unit rows, an encoder of half of it, and small biases."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(width, DIMENSION, generator=generator), dim=1)
    return {
        "W_enc": dictionary / 2,
        "b_enc": 0.01 * torch.randn(width, generator=generator),
        "W_dec": dictionary,
        "b_dec": 0.1 * torch.randn(DIMENSION, generator=generator),
    }


def random_states(tokens: int) -> Tensor:
    """Returns token states."""
    return torch.randn(tokens, DIMENSION, generator=torch.Generator().manual_seed(1))


def head_of(weights: Weights) -> SparseHead:
    """Returns our head with these weights."""
    head = SparseHead(len(weights["W_enc"]), DIMENSION, decoder=True)
    head.load_state_dict(weights)
    return head


def gradient_of(weights: Tensor) -> Tensor:
    """Returns the gradient that a backward pass left."""
    assert weights.grad is not None
    return weights.grad


def trained_by_us(head: SparseHead, settings: PretrainConfig, loss: Callable[[Tensor], Tensor]) -> System:
    """Returns a system that takes the steps of ``SaeSplade.pretrain`` with a loss."""
    optimiser = torch.optim.AdamW(
        head.parameters(),
        lr=settings.learning_rate,
        eps=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )

    def step(states: Tensor) -> None:
        loss(states).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), settings.max_grad_norm)
        head.project_gradient()
        optimiser.step()
        head.normalise_dictionary()
        optimiser.zero_grad()

    return System(loss, lambda: (gradient_of(head.W_enc), gradient_of(head.dictionary)), step)


def pyterrier_saesplade(weights: Weights, k: int, precision: Precision = "auto") -> System:
    """Returns our autoencoder with our step."""
    settings = PretrainConfig(width=len(weights["W_enc"]), k=k, precision=precision)
    head = head_of(weights)
    dtype = pick_dtype(settings.precision, torch.device("cpu"))
    autoencoder = SparseAutoencoder(head, settings, dead_after=settings.dead_after, dtype=dtype)
    return trained_by_us(head, settings, lambda states: autoencoder(states).loss)


def dense(weights: Weights, k: int) -> System:
    """Returns a loss over dense activations with our step."""
    head = head_of(weights)

    def loss(states: Tensor) -> Tensor:
        activations = torch.nn.functional.linear(states - head.b_dec, head.W_enc, head.b_enc)
        best = activations.topk(k, dim=1)
        kept = torch.zeros_like(activations).scatter(1, best.indices, torch.relu(best.values))
        return (states - head.b_dec - kept @ head.dictionary).square().sum(1).mean()

    return trained_by_us(head, PretrainConfig(width=len(weights["W_enc"]), k=k), loss)


def sae_lens(weights: Weights, k: int, *, sparse: bool = False, autocast: bool = False) -> System:
    """Returns SAELens with its trainer; its loss is on our scale."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.training.sae_trainer import SAETrainer

    how = {"use_sparse_activations": sparse, "rescale_acts_by_decoder_norm": not sparse}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=DIMENSION, d_sae=len(weights["W_enc"]), k=k, **how))
    sae.load_state_dict(weights | {"W_enc": weights["W_enc"].T})
    settings = SAETrainerConfig(10**9, train_batch_size_samples=4096, lr_end=3e-5, autocast=autocast)
    trainer = SAETrainer(settings, sae, data_provider=itertools.repeat(torch.empty(0)))

    def reconstruction(states: Tensor) -> Tensor:
        inputs = TrainStepInput(states, {}, trainer.dead_neurons, n_training_steps=0, is_logging_step=False)
        with trainer.autocast_if_enabled:
            loss: Tensor = sae.training_forward_pass(inputs).losses["mse_loss"]
        return loss

    return System(reconstruction, lambda: (sae.W_enc.grad.T, sae.W_dec.grad), trainer.step)


def sparsify(weights: Weights, k: int) -> System:
    """Returns sparsify with the lines of its trainer that make a step.

    Its loss is the summed squared error of the batch divided by the batch's summed variance. Multiplied by the variance
    and divided by the number of tokens, it is on our scale.
    """
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    with contextlib.redirect_stdout(sys.stderr):
        from schedulefree import ScheduleFreeWrapper
        from sparsify.config import SparseCoderConfig
        from sparsify.sign_sgd import SignSGD
        from sparsify.sparse_coder import SparseCoder

    width = len(weights["W_enc"])
    coder = SparseCoder(DIMENSION, SparseCoderConfig(num_latents=width, k=k))
    names = {"W_enc": "encoder.weight", "b_enc": "encoder.bias"}
    coder.load_state_dict({names.get(name, name): tensor for name, tensor in weights.items()})
    optimiser = ScheduleFreeWrapper(SignSGD(coder.parameters(), lr=5e-3 / (width / 2**14) ** 0.5), momentum=0.95)
    optimiser.train()
    unseen, fired = torch.zeros(width, dtype=torch.long), torch.zeros(width, dtype=torch.bool)

    def variance(states: Tensor) -> Tensor:
        return (states - states.mean(0)).pow(2).sum()

    def reconstruction(states: Tensor) -> Tensor:
        unexplained: Tensor = coder(states, total_variance=variance(states)).fvu
        return unexplained * variance(states) / len(states)

    def step(states: Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        output = coder(x=states, y=states, dead_mask=None, total_variance=variance(states))
        fired[output.latent_indices.flatten()] = True
        output.fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
        unseen.add_(len(states))[fired] = 0
        fired.zero_()

    return System(reconstruction, lambda: (coder.encoder.weight.grad, coder.W_dec.grad), step)


SYSTEMS: dict[str, Callable[[Weights, int], System]] = {
    OURS: pyterrier_saesplade,
    EXACT: partial(pyterrier_saesplade, precision="float32"),
    "sae-lens": sae_lens,
    "sae-lens sparse": partial(sae_lens, sparse=True),
    SAE_LENS_BFLOAT16: partial(sae_lens, autocast=True),
    "sparsify": sparsify,
    "dense": dense,
}
#: The package whose version is shown; for the other systems it is torch.
PACKAGES = {
    **dict.fromkeys((OURS, EXACT), OURS),
    **dict.fromkeys(("sae-lens", "sae-lens sparse", SAE_LENS_BFLOAT16), "sae-lens"),
    "sparsify": "eai-sparsify",
}


def seconds_of(work: Callable[[], object], times: int) -> float:
    """Returns the median seconds of a function, after a warm-up."""
    seconds = []
    for _ in range(_WARMUP + times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[_WARMUP:])


def error_and_gradients(system: System, states: Tensor) -> dict[str, Tensor]:
    """Returns what all systems must agree on."""
    error = system.reconstruction(states)
    error.backward()
    encoder, decoder = system.gradients()
    return {"error": error.detach(), "W_enc": encoder, "W_dec": decoder}


def check(k: int) -> None:
    """Stops unless all float32 systems give our error and gradients; reports the relative distances of all."""
    weights, states = random_weights(_CHECKED_WIDTH), random_states(_CHECKED_TOKENS)
    expected = error_and_gradients(SYSTEMS[EXACT](weights, k), states)
    far: dict[str, float] = {}
    for name, prepare in SYSTEMS.items():
        found = error_and_gradients(prepare(weights, k), states)
        distances = {what: float((found[what] - mine).norm() / mine.norm()) for what, mine in expected.items()}
        if name not in (OURS, SAE_LENS_BFLOAT16) and not max(distances.values()) <= _TOLERANCE:
            raise SystemExit(f"{name} differs from ours by more than {_TOLERANCE}: {distances}")
        far |= {f"{name}: {what}": distance for what, distance in distances.items()}
    rounds.report_run(**far)


def time_step(system: str, width: int, tokens: int, k: int, steps: int) -> None:
    """Takes some steps, and reports the seconds of one, and their memory without libraries and weights."""
    prepared, states = SYSTEMS[system](random_weights(width), k), random_states(tokens)
    before = rounds.memory()
    seconds = seconds_of(lambda: prepared.step(states), steps)
    rounds.report_run(seconds=seconds, step_mb=rounds.peak_memory() - before)


def time_gemm(width: int, tokens: int, steps: int) -> None:
    """Multiplies states and encoder into allocated memory, and reports the seconds of a product."""
    encoder, states = random_weights(width)["W_enc"], random_states(tokens)
    before = rounds.memory()

    def seconds(dtype: torch.dtype) -> float:
        factors, rows = encoder.to(dtype).T, states.to(dtype)
        product = torch.empty(tokens, width, dtype=dtype)
        return seconds_of(lambda: torch.mm(rows, factors, out=product), steps)

    fast = pick_dtype("auto", torch.device("cpu")) or torch.float32
    rounds.report_run(
        seconds=seconds(fast), step_mb=rounds.peak_memory() - before, seconds_float32=seconds(torch.float32)
    )


def print_table(figures: rounds.Figures) -> None:
    """Prints a Markdown table of medians."""
    print("| system | version | seconds per step | speed-up of ours | step MB | ours / its | peak MB | ours / its |")
    print("|---" * 8 + "|")
    for system in figures:
        package = PACKAGES.get(system, "torch")
        version = f"{'torch ' if package == 'torch' else ''}{importlib.metadata.version(package)}"
        cells = [f"{rounds.median(figures, system):.2f}", f"{rounds.ratio(figures, system, OURS):.2f}"]
        for what in ("step_mb", "peak_mb"):
            cells += [f"{rounds.median(figures, system, what):.0f}", f"{rounds.ratio(figures, OURS, system, what):.2f}"]
        print(f"| {system} | {version} | {' | '.join(cells)} |")
    print(f"\nThe lower bound in float32: {rounds.median(figures, GEMM, 'seconds_float32'):.2f} s")


def main(
    width: Annotated[int, typer.Option(help="Number of latents.")] = 65536,
    tokens: Annotated[int, typer.Option(help="Token states per step.")] = 4096,
    k: Annotated[int, typer.Option(help="Latents kept per token.")] = 8,
    steps: Annotated[int, typer.Option(help="Timed steps per round.")] = 3,
    repeats: Annotated[int, typer.Option("--rounds", help="Runs of each system.")] = 3,
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")] = Path(
        "benchmarks/results/pretrain_step.json"
    ),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Compare the steps and print a table."""
    if worker == _CHECK:
        check(k)
    elif worker == GEMM:
        time_gemm(width, tokens, steps)
    elif worker:
        time_step(worker, width, tokens, k, steps)
    else:
        options = {"width": width, "tokens": tokens, "k": k, "steps": steps}
        # In a separate process: on Linux, the peak memory of a child starts at that of its parent.
        agreement = rounds.run_worker(__file__, _CHECK, options)
        figures = rounds.take_turns(__file__, (*SYSTEMS, GEMM), options, repeats)
        size = f"{width:,} latents of {DIMENSION} dimensions, k = {k}, {tokens:,} tokens"
        print(f"{size}, {rounds.processor()}, rounds: {repeats}\n")
        print_table(figures)
        work = "one step of pre-training a TopK sparse autoencoder"
        packages = ("torch", *sorted(set(PACKAGES.values())))
        facts = {"dimension": DIMENSION, "threads": torch.get_num_threads(), "agreement": agreement}
        rounds.write_results(out, work, figures, packages, **options, **facts, tolerance=_TOLERANCE)


if __name__ == "__main__":
    typer.run(main)
