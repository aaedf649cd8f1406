"""From a real collection to runs by each of the six commands. The runs are those of the exact engine."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyterrier_saesplade.collections import open_collection
from pyterrier_saesplade.engines.lucene import impacts
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors

from .commands import Run, Worker, integers, read_run, saesplade

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["vaswani", "nfcorpus"])
def test_six_commands(
    name: str,
    model: SaeSplade,
    collection_folder: Callable[[str], Path],
    bridge: Worker,
    stock: Worker,
    tmp_path: Path,
) -> None:
    folder = collection_folder(name)
    collection, topics = open_collection(folder), folder / "queries.tsv"
    encoder = f"sae:{model.source}"
    vectors, queries, exported = tmp_path / "vectors", tmp_path / "queries.parquet", tmp_path / "VECTORS"
    saesplade("encode", "--model", model.source, "--collection", folder, "--out", vectors)
    saesplade("encode", "--model", model.source, "--queries", topics, "--out", queries)
    store = StoredVectors(vectors)
    exact = model.indexer(tmp_path / "exact", "exact", quantization=Quantization()).index(store)
    expected = integers(model.retriever(exact)(collection.topics()))

    sources = ["--store", vectors, "--queries", queries]
    saesplade("export", *sources, "--format", "anserini", "--out", exported)
    how = ["--generator", "DefaultLuceneDocumentGenerator", "--threads", 2, "--impact", "--pretokenized"]
    documents, index = ["--collection", "JsonVectorCollection", "--input", exported / "docs"], tmp_path / "STOCK"
    stock.run("pyserini.index.lucene", *documents, "--index", index, *how)
    options = ["--impact", "--index", index, "--topics", exported / "topics.tsv", "--min-idf", -1, "--hits", 1000]
    stock.run("pyserini.search.lucene", *options, "--output", tmp_path / "stock.trec")
    check_same(read_run(tmp_path / "stock.trec"), expected)

    ours = tmp_path / "INDEX"
    bridge.run("pyserini_bridge.index", "--model", model.source, "--collection", folder, "--index", ours)
    options = ["--index", ours, "--topics", topics, "--encoder", encoder, "--hits", 1000]
    bridge.run("pyserini_bridge.search", *options, "--output", tmp_path / "ours.trec")
    check_same(read_run(tmp_path / "ours.trec"), expected)

    (tmp_path / "corpus").mkdir()
    with (tmp_path / "corpus" / "docs.jsonl").open("w") as file:
        for document in islice(collection.get_corpus_iter(), 1000):
            print(json.dumps({"id": document["docno"], "text": document["text"]}), file=file)
    options = ["--fields", "text", "output", "--embeddings", tmp_path / "out", "encoder", "--fields", "text"]
    options += ["--encoder", encoder, "--device", "cpu"]
    bridge.run("pyserini_bridge.encode", "input", "--corpus", tmp_path / "corpus", *options)
    with (tmp_path / "out" / "embeddings.jsonl").open() as file:
        written = {line["id"]: line["vector"] for line in map(json.loads, file)}
    docnos, window = next(store.batches())
    stored = dict(zip(docnos, impacts(window, store.terms, Quantization()), strict=True))
    # Pyserini's batches differ from those of the store, so a weight between two levels may be rounded differently.
    assert len(written) == 1000
    assert sum(stored[docno] == vector for docno, vector in written.items()) >= 999


def check_same(run: Run, expected: Run) -> None:
    """Checks for the same scores at every rank, and the same documents except ties with the last score of a query."""
    runs = [
        pd.DataFrame([(*pair, score) for pair, score in scores.items()], columns=["qid", "docno", "score"]).sort_values(
            ["qid", "score", "docno"], ignore_index=True
        )
        for scores in (run, expected)
    ]
    for found in runs:
        assert len(found) == len(runs[0])
    np.testing.assert_array_equal(runs[0][["qid", "score"]], runs[1][["qid", "score"]])
    inner = [found[found["score"] > found.groupby("qid")["score"].transform("min")] for found in runs]
    pd.testing.assert_frame_equal(*(found.reset_index(drop=True) for found in inner))
    assert len(inner[0]) > 100 * inner[0]["qid"].nunique()
