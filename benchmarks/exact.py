"""Measures models on the test queries of a collection, with float weights and exact scores, as on the training page.

``saesplade evaluate`` measures what users get: quantised weights in Terrier. This script leaves both out::

    python benchmarks/exact.py --collection irds:beir/scifact/test my-model my-tuned-model --k 8 --k 7
"""

from __future__ import annotations

from itertools import product
from typing import Annotated

import ir_measures
import numpy as np
import typer

from pyterrier_saesplade import SaeSplade, open_collection
from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.impacts import LatentStatistics
from pyterrier_saesplade.metrics import qd_flops
from pyterrier_saesplade.vectors import top_documents

MEASURES = {name: ir_measures.parse_measure(name) for name in ("nDCG@10", "RR@10", "AP")}


def measured(model: SaeSplade, collection: Collection) -> dict[str, float]:
    """Encodes and searches, and returns each measure and the QD-FLOPs."""
    documents, judgements = list(collection.get_corpus_iter()), collection.qrels()
    topics = collection.topics()
    topics = topics[topics["qid"].isin(judgements["qid"])]
    vectors = model.encode([document["text"] for document in documents], side="doc")
    queries = model.encode(topics["query"].tolist(), side="query")
    statistics = LatentStatistics.empty(model.width)
    statistics.update(vectors)
    query_df = np.bincount(queries.latents, minlength=model.width)
    cost = qd_flops(query_df, len(queries), statistics.df, statistics.n_docs)
    if model.weighting == "idf":
        queries = statistics.weigh(queries)
    run = [
        ir_measures.ScoredDoc(qid, documents[row]["docno"], float(score))
        for qid, (rows, scores) in zip(topics["qid"], top_documents(queries, vectors, model.width, 1000), strict=True)
        for row, score in zip(rows, scores, strict=True)
    ]
    qrels = [ir_measures.Qrel(*row) for row in judgements[["qid", "docno", "label"]].itertuples(index=False)]
    values = ir_measures.calc_aggregate(MEASURES.values(), qrels, run)
    return {name: values[measure] for name, measure in MEASURES.items()} | {"QD-FLOPs": cost}


def main(
    models: Annotated[list[str], typer.Argument(help="Folders of models.")],
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")],
    k: Annotated[list[int] | None, typer.Option(help="Latents kept per token, in place of the model's.")] = None,
) -> None:
    """Print a Markdown table with a row for each model and each k."""
    opened = open_collection(collection)
    print(f"| model | k | {' | '.join(MEASURES)} | QD-FLOPs |")
    print("|---" * (len(MEASURES) + 3) + "|")
    for name, kept in product(models, k or (None,)):
        values = measured(SaeSplade.from_pretrained(name, k=kept), opened)
        print(f"| {name} | {kept or ''} | {' | '.join(f'{value:.4f}' for value in values.values())} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
