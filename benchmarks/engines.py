"""Compares all engines on the same vectors: build time, size, time per query, and agreement with the exact engine.

The store comes from ``saesplade encode`` or ``saesplade import``. The queries are encoded (.parquet or .jsonl[.gz])::

    python benchmarks/engines.py --store VECTORS --queries QUERIES
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from pyterrier_saesplade import ConceptIndexer, read_queries
from pyterrier_saesplade.engines import ENGINES, ConceptIndex
from pyterrier_saesplade.files import size_on_disk
from pyterrier_saesplade.formats import jsonl
from pyterrier_saesplade.store import StoredVectors


def main(
    store: Annotated[Path, typer.Option(help="Store of concept vectors.")],
    queries: Annotated[Path, typer.Option(help="File of encoded queries.")],
    query_scale: Annotated[float, typer.Option(help="Number that the weights of queries are divided by.")] = 1,
) -> None:
    """Print a Markdown table with a row per engine, each compared with the exact engine over the same weights.

    Agreement is the share of the first k ranks with the same score as in the exact engine. Recall is the share of its
    first k documents that were found. Documents with equal scores are interchangeable.
    """
    vectors = StoredVectors(store)
    topics = read_queries(queries) if queries.suffix == ".parquet" else jsonl.read_queries(queries)
    if query_scale != 1:
        scaled = [{term: weight / query_scale for term, weight in toks.items()} for toks in topics["query_toks"]]
        topics = topics.assign(query_toks=pd.Series(scaled, index=topics.index, dtype=object))
    print(
        "| engine | build s | index MB | ms/query, k = 10 | ms/query, k = 1,000 "
        "| agreement@10 | agreement@1,000 | recall@10 | recall@1,000 |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for engine in ENGINES:
            start = time.perf_counter()
            index = ConceptIndexer(vectors, Path(folder) / engine, engine).index(vectors)
            build = time.perf_counter() - start
            reference = ConceptIndexer(
                vectors, Path(folder) / "reference", "exact", quantization=index.quantization, overwrite=True
            ).index(vectors)
            cells = [f"{build:.1f}", f"{size_on_disk(Path(str(index.path))) / 1e6:.1f}"]
            runs = {k: timed(index, topics, k) for k in (10, 1000)}
            cells += [f"{milliseconds:.1f}" for _, milliseconds in runs.values()]
            expected = {k: timed(reference, topics, k)[0] for k in runs}
            for compare in (agreement, recall):
                cells += [f"{compare(run, expected[k]):.4f}" for k, (run, _) in runs.items()]
            print(f"| {engine} | {' | '.join(cells)} |", flush=True)


def timed(index: ConceptIndex, topics: pd.DataFrame, k: int) -> tuple[pd.DataFrame, float]:
    """Returns the run and the milliseconds per query, after a warm-up."""
    retriever = index.retriever(k)
    retriever(topics.head(1))
    start = time.perf_counter()
    run = retriever.transform(topics)
    return run, (time.perf_counter() - start) * 1000 / len(topics)


def agreement(run: pd.DataFrame, expected: pd.DataFrame) -> float:
    """Returns the share of the expected scores that are found at their ranks."""
    columns = ["qid", "rank"]
    both = expected[[*columns, "score"]].merge(run[[*columns, "score"]], on=columns)
    close = (both["score_x"] - both["score_y"]).abs() <= 1e-4 * both["score_x"].abs()
    return float(close.sum() / len(expected))


def recall(run: pd.DataFrame, expected: pd.DataFrame) -> float:
    """Returns the share of the expected documents that are found; any with at least the last score count."""
    last = expected.groupby("qid")["score"].min()
    found = run["score"] >= run["qid"].map(last) * (1 - 1e-4)
    return float(found.sum() / len(expected))


if __name__ == "__main__":
    typer.run(main)
