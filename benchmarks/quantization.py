"""Measures what the quantisation of impacts costs: Terrier indexes of one encoding at several scales, and exact floats.

Usage::

    python benchmarks/quantization.py --collection irds:beir/nfcorpus/test --model MODEL
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import ir_measures
import pandas as pd
import pyterrier as pt
import typer

from pyterrier_saesplade import Quantization, SaeSplade, open_collection
from pyterrier_saesplade.files import size_on_disk


def main(
    model: Annotated[str, typer.Option(help="Folder of a model.")],
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    scales: Annotated[str, typer.Option(help="Levels per unit of weight.")] = "100 50 25 10 5 2",
    splade: Annotated[bool, typer.Option(help="Whether the model is a SPLADE checkpoint.")] = False,
) -> None:
    """Print a Markdown table with a row per scale."""
    data = open_collection(collection)
    encoder = (SaeSplade.from_splade if splade else SaeSplade.from_pretrained)(model, verbose=True)
    documents = list(data.get_corpus_iter())
    vectors = encoder.encode([document["text"] for document in documents], "doc")
    docnos = [document["docno"] for document in documents]
    qrels = data.qrels()
    topics = encoder.query_encoder().transform(data.topics()[["qid", "query"]])
    topics = topics[topics["qid"].isin(set(qrels["qid"]))]
    print("| scale | postings | index MB | build s | ms/query | nDCG@10 | AP |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for scale in (None, *map(float, scales.split())):
            start = time.perf_counter()
            indexer = encoder.indexer(
                Path(folder) / f"index-{scale}",
                "exact" if scale is None else "terrier",
                quantization=None if scale is None else Quantization(scale),
            )
            index = indexer.index_vectors([(docnos, vectors)])
            build = time.perf_counter() - start
            retriever = index.retriever()
            retriever(topics.head(1))  # starts the engine
            start = time.perf_counter()
            run = retriever.transform(topics)
            per_query = (time.perf_counter() - start) * 1000 / len(topics)
            print(
                f"| {'floats (exact)' if scale is None else f'{scale:g}'} | {index.metadata['n_postings']} "
                f"| {megabytes(index):.2f} | {build:.1f} | {per_query:.1f} | {effectiveness(run, qrels)} |"
            )


def megabytes(index: pt.Artifact) -> float:
    """Returns the size of the engine's own files."""
    root = Path(str(index.path))
    engine = root / "terrier" if (root / "terrier").is_dir() else root
    return size_on_disk(engine) / 1e6


def effectiveness(run: pd.DataFrame, qrels: pd.DataFrame) -> str:
    """Returns nDCG@10 and AP as two cells."""
    run = run.rename(columns={"qid": "query_id", "docno": "doc_id"})
    qrels = qrels.rename(columns={"qid": "query_id", "docno": "doc_id", "label": "relevance"})
    measures = [ir_measures.nDCG @ 10, ir_measures.AP]
    values = ir_measures.calc_aggregate(measures, qrels, run)
    return " | ".join(f"{values[measure]:.4f}" for measure in measures)


if __name__ == "__main__":
    typer.run(main)
