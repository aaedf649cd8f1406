"""The files that Pyserini's own commands take."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pyserini_bridge.index import build_index
from pyterrier_saesplade.formats import export
from pyterrier_saesplade.formats.anserini import export_vectors
from pyterrier_saesplade.impacts import Quantization, to_toks
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors, encode_topics
from pyterrier_saesplade.vectors import ConceptVectors

from .conftest import TOPICS


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def test_documents(store: StoredVectors, tmp_path: Path) -> None:
    """Every document, empty ones too, in order, in no more files than asked for, and nothing else in their folder."""
    folder = export_vectors(store, tmp_path / "vectors", shards=7)
    assert sorted(os.listdir(folder)) == ["docs", "pt_meta.json", "statistics.npz", "terms.json"]
    files = sorted((folder / "docs").iterdir())
    assert [file.name for file in files] == [f"docs-{i:05d}.jsonl" for i in range(7)]
    documents = [json.loads(line) for file in files for line in lines(file)]
    docnos, vectors = zip(*store.batches(), strict=True)
    assert [document["id"] for document in documents] == [docno for window in docnos for docno in window]
    expected = to_toks(Quantization().quantize(ConceptVectors.concatenate(vectors)), store.terms)
    assert [document["vector"] for document in documents] == expected
    assert documents[3]["vector"] == {}
    assert len(os.listdir(export_vectors(store, tmp_path / "many", shards=1000) / "docs")) == 60


def test_queries(model: SaeSplade, store: StoredVectors, queries: Path, tmp_path: Path) -> None:
    """Multiplied by the idf of the documents as quantised, then quantised; ``_`` stands for an empty one."""
    folder = export_vectors(store, tmp_path / "vectors", queries=queries)
    df = np.zeros(2048)
    for _, vectors in store.batches():
        np.add.at(df, Quantization().quantize(vectors).latents, 1)
    assert df.max() == 58  # a latent that every document has which is not empty
    idf = np.log((60 + 1) / (df + 0.5)).astype(np.float32)
    weighted = [
        {f"c{latent}": int(level) for latent, level in zip(latents, levels, strict=True) if level}
        for latents, weights in map(model.encode(TOPICS["query"].tolist(), "query").row, range(3))
        for levels in [np.floor(np.float64(weights * idf[latents]) * 100 + 0.5)]
    ]
    assert [json.loads(line) for line in lines(folder / "queries.jsonl")] == [
        {"contents": text or "_", "vector": vector} for text, vector in zip(TOPICS["query"], weighted, strict=True)
    ]
    topics = [line.split("\t") for line in lines(folder / "topics.tsv")]
    assert [qid for qid, _ in topics] == ["7", "q2", "10"]
    assert [Counter(terms.split()) for _, terms in topics] == [weighted[0], {"_": 1}, weighted[2]]


def test_what_is_refused(model: SaeSplade, store: StoredVectors, queries: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match=f"{queries.name} exists already"):
        export_vectors(store, queries)
    with pytest.raises(ValueError, match="shards must be positive, not 0"):
        export_vectors(store, tmp_path / "vectors", shards=0)
    other = SaeSplade.from_pretrained(model.source, k=3)
    with pytest.raises(ValueError, match=r"queries\.parquet was encoded by another model"):
        export_vectors(store, tmp_path / "vectors", queries=encode_topics(other, TOPICS, tmp_path / "queries.parquet"))
    assert os.listdir(tmp_path) == ["queries.parquet"]


def test_a_word_piece_with_a_blank(store: StoredVectors, tmp_path: Path) -> None:
    """Anserini would cut it in two."""
    other = StoredVectors(store.folder)
    other.terms._names[int(next(store.batches())[1].latents[0])] = "two words"
    with pytest.raises(ValueError, match="the word piece 'two words' holds a blank"):
        export_vectors(other, tmp_path / "vectors")
    with pytest.raises(ValueError, match="the word piece 'two words' holds a blank"):
        build_index(other, other.batches(), tmp_path / "index")
    assert os.listdir(tmp_path) == []


def test_the_public_function(model: SaeSplade, store: StoredVectors, queries: Path, tmp_path: Path) -> None:
    """Replaces what was exported, when asked, and nothing else."""
    out = export(store, "anserini", tmp_path / "vectors")
    assert not (out / "topics.tsv").exists()
    with pytest.raises(FileExistsError, match="vectors exists already: name another path, remove it, or ask"):
        export(store, "anserini", out, queries=queries)
    export(store, "anserini", out, queries=queries, overwrite=True)
    assert len(lines(out / "topics.tsv")) == 3
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine was not written by an export"):
        export(store, "anserini", tmp_path / "mine", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["mine", "vectors"]
