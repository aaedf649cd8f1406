"""Time and peak memory of one step of pre-training a sparse autoencoder on a CPU, beside other packages' step.

All start from the same weights and see the same token states, and each does what its own trainer does in a step: the
loss, its gradient, the optimiser, and what that trainer does to the decoder's norms. No latent is dead, so that nobody
has an auxiliary loss. Each runs in a process of its own, in turn; before any time counts, all must give the same
reconstruction error and the same gradients of encoder and decoder, in float32; how far bfloat16 is off is noted.

- pyterrier_saesplade: the step of ``pretrain``; latents are searched in bfloat16 where the CPU multiplies it.
- pyterrier_saesplade float32: the same, asked for float32.
- sae-lens: ``SAETrainer.step`` of a ``TopKTrainingSAE`` with its defaults: float32, dense activations, Adam.
- sae-lens sparse: the same with the sparse activations that it offers, for which its rescaling by the decoder's norms
  has to be off: together they cannot go backward.
- sae-lens bfloat16: the same as the first, with the autocast that it offers.
- sparsify: what ``sparsify.Trainer`` does around a ``SparseCoder`` with its defaults, without Triton, which needs a
  GPU. Its optimiser, schedule-free SignSGD, keeps one tensor for each weight where Adam keeps two.
- dense: our step, but the loss is what plain PyTorch gives: all pre-activations, TopK, a scatter into [tokens, M], a
  product with the decoder, and autograd. In float32.
- gemm: no step but a floor, the product of the states and the encoder alone, in bfloat16 where the CPU multiplies it.

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
#: How far the error, and the gradients by their norm, may be from ours: float32 sums in another order.
_TOLERANCE = 1e-4

Weights = dict[str, Tensor]


class System(NamedTuple):
    """A system with its weights in place.

    Attributes:
        reconstruction: The mean over tokens of the squared error, summed over the dimensions, with its graph.
        gradients: Those of encoder and decoder, both ``[M, d]``, once the graph was gone through.
        step: One step of training.
    """

    reconstruction: Callable[[Tensor], Tensor]
    gradients: Callable[[], tuple[Tensor, Tensor]]
    step: Callable[[Tensor], object]


def random_weights(width: int) -> Weights:
    """Weights as training starts from: a dictionary of unit rows, the encoder half of it, and small biases."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(width, DIMENSION, generator=generator), dim=1)
    return {
        "W_enc": dictionary / 2,
        "b_enc": 0.01 * torch.randn(width, generator=generator),
        "W_dec": dictionary,
        "b_dec": 0.1 * torch.randn(DIMENSION, generator=generator),
    }


def random_states(tokens: int) -> Tensor:
    """Token states."""
    return torch.randn(tokens, DIMENSION, generator=torch.Generator().manual_seed(1))


def head_of(weights: Weights) -> SparseHead:
    """Our head with these weights."""
    head = SparseHead(len(weights["W_enc"]), DIMENSION, decoder=True)
    head.load_state_dict(weights)
    return head


def trained_by_us(head: SparseHead, settings: PretrainConfig, loss: Callable[[Tensor], Tensor]) -> System:
    """A system that takes the steps of ``pyterrier_saesplade.pretrain`` on a loss."""
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

    return System(loss, lambda: (head.W_enc.grad, head.dictionary.grad), step)


def pyterrier_saesplade(weights: Weights, k: int, precision: Precision = "auto") -> System:
    """Our autoencoder."""
    settings = PretrainConfig(width=len(weights["W_enc"]), k=k, precision=precision)
    head = head_of(weights)
    dtype = pick_dtype(settings.precision, torch.device("cpu"))
    autoencoder = SparseAutoencoder(head, settings, dead_after=settings.dead_after, dtype=dtype)
    return trained_by_us(head, settings, lambda states: autoencoder(states).loss)


def dense(weights: Weights, k: int) -> System:
    """The loss over dense activations, with our step."""
    head = head_of(weights)

    def loss(states: Tensor) -> Tensor:
        activations = torch.nn.functional.linear(states - head.b_dec, head.W_enc, head.b_enc)
        best = activations.topk(k, dim=1)
        kept = torch.zeros_like(activations).scatter(1, best.indices, torch.relu(best.values))
        return (states - head.b_dec - kept @ head.dictionary).square().sum(1).mean()

    return trained_by_us(head, PretrainConfig(width=len(weights["W_enc"]), k=k), loss)


def sae_lens(weights: Weights, k: int, *, sparse: bool = False, autocast: bool = False) -> System:
    """SAELens with its trainer; its loss is on our scale."""
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
            return sae.training_forward_pass(inputs).losses["mse_loss"]

    return System(reconstruction, lambda: (sae.W_enc.grad.T, sae.W_dec.grad), trainer.step)


def sparsify(weights: Weights, k: int) -> System:
    """Sparsify, with the lines of its trainer that make a step.

    Its loss is the batch's squared error over the batch's variance, both summed: times variance and over tokens, it is
    on our scale.
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
        return coder(states, total_variance=variance(states)).fvu * variance(states) / len(states)

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
#: Which package's version counts; of the others torch's does.
PACKAGES = {
    **dict.fromkeys((OURS, EXACT), OURS),
    **dict.fromkeys(("sae-lens", "sae-lens sparse", SAE_LENS_BFLOAT16), "sae-lens"),
    "sparsify": "eai-sparsify",
}


def seconds_of(work: Callable[[], object], times: int) -> float:
    """The median seconds of some work, after a warm-up."""
    seconds = []
    for _ in range(_WARMUP + times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[_WARMUP:])


def error_and_gradients(system: System, states: Tensor) -> dict[str, Tensor]:
    """What the systems must agree on."""
    error = system.reconstruction(states)
    error.backward()
    encoder, decoder = system.gradients()
    return {"error": error.detach(), "W_enc": encoder, "W_dec": decoder}


def check(k: int) -> None:
    """Stop unless all systems in float32 give our error and gradients; report how far off all are, relatively."""
    weights, states = random_weights(_CHECKED_WIDTH), random_states(_CHECKED_TOKENS)
    expected, far = error_and_gradients(SYSTEMS[EXACT](weights, k), states), {}
    for name, prepare in SYSTEMS.items():
        found = error_and_gradients(prepare(weights, k), states)
        distances = {what: float((found[what] - mine).norm() / mine.norm()) for what, mine in expected.items()}
        if name not in (OURS, SAE_LENS_BFLOAT16) and not max(distances.values()) <= _TOLERANCE:
            raise SystemExit(f"{name} differs from ours by more than {_TOLERANCE}: {distances}")
        far |= {f"{name}: {what}": distance for what, distance in distances.items()}
    rounds.report_run(**far)


def time_step(system: str, width: int, tokens: int, k: int, steps: int) -> None:
    """Take some steps, and report the seconds of one, and the memory that they take beside libraries and weights."""
    prepared, states = SYSTEMS[system](random_weights(width), k), random_states(tokens)
    before = rounds.memory()
    seconds = seconds_of(lambda: prepared.step(states), steps)
    rounds.report_run(seconds=seconds, step_mb=rounds.peak_memory() - before)


def time_gemm(width: int, tokens: int, steps: int) -> None:
    """Multiply states and encoder into memory that is there, and report the seconds of a product."""
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
    """Print what was found as Markdown."""
    print("| system | version | seconds per step | ours is faster by | step's MB | ours / its | peak MB | ours / its |")
    print("|---" * 8 + "|")
    for system in figures:
        package = PACKAGES.get(system, "torch")
        version = f"{'torch ' if package == 'torch' else ''}{importlib.metadata.version(package)}"
        cells = [f"{rounds.median(figures, system):.2f}", f"{rounds.ratio(figures, system, OURS):.2f}"]
        for what in ("step_mb", "peak_mb"):
            cells += [f"{rounds.median(figures, system, what):.0f}", f"{rounds.ratio(figures, OURS, system, what):.2f}"]
        print(f"| {system} | {version} | {' | '.join(cells)} |")
    print(f"\nThe floor in float32: {rounds.median(figures, GEMM, 'seconds_float32'):.2f} s")


def main(
    width: Annotated[int, typer.Option(help="Number of latents.")] = 65536,
    tokens: Annotated[int, typer.Option(help="Token states of a step.")] = 4096,
    k: Annotated[int, typer.Option(help="Latents that are kept of a token.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps that are timed in a round.")] = 3,
    repeats: Annotated[int, typer.Option("--rounds", help="How often each system runs.")] = 3,
    out: Annotated[Path, typer.Option(help="File for the figures.")] = Path("benchmarks/results/pretrain_step.json"),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Compare the steps, and print a table."""
    if worker == _CHECK:
        check(k)
    elif worker == GEMM:
        time_gemm(width, tokens, steps)
    elif worker:
        time_step(worker, width, tokens, k, steps)
    else:
        options = {"width": width, "tokens": tokens, "k": k, "steps": steps}
        # Not in this process: to Linux a process has at least the peak memory of the one that starts it.
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
