"""The files for Pyserini's own commands."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyterrier_saesplade.engines.lucene import Description
from pyterrier_saesplade.errors import DataError, ModelMismatchError, PathExistsError, SettingError
from pyterrier_saesplade.formats import export
from pyterrier_saesplade.formats.anserini import export_vectors
from pyterrier_saesplade.impacts import Quantization, to_toks
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors, encode_corpus, encode_topics
from pyterrier_saesplade.vectors import ConceptVectors

WORDS = ["sparse", "dense", "latent", "query", "index", "term", "corpus", "token", "score", "rank", "naïve", "東京"]
TOPICS = pd.DataFrame({"qid": ["7", "q2", "10"], "query": ["sparse latent", "", "東京 token rank"]})


class Corpus:
    """60 documents, two of them empty."""

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        for i in range(60):
            text = " ".join(WORDS[(step * i) % 12] for step in range(1, 2 + i % 9))
            yield {"docno": f"d{i}", "text": "" if i in (3, 7) else text}


@pytest.fixture(scope="module")
def model(random_model_path: Path) -> SaeSplade:
    """A random model, which multiplies queries by the idf of their latents."""
    return SaeSplade.from_pretrained(random_model_path)


@pytest.fixture(scope="module")
def encoded(model: SaeSplade, tmp_path_factory: pytest.TempPathFactory) -> StoredVectors:
    store = encode_corpus(model, Corpus(), tmp_path_factory.mktemp("stores") / "store")
    assert store is not None
    return store


@pytest.fixture(scope="module")
def queries(model: SaeSplade, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_topics(model, TOPICS, tmp_path_factory.mktemp("queries") / "queries.parquet")


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def test_documents(encoded: StoredVectors, tmp_path: Path) -> None:
    """All documents are in order, including empty ones, in at most the requested number of files."""
    folder = export_vectors(encoded, tmp_path / "vectors", shards=7)
    assert sorted(os.listdir(folder)) == ["docs", "pt_meta.json", "statistics.npz", "terms.json"]
    files = sorted((folder / "docs").iterdir())
    assert [file.name for file in files] == [f"docs-{i:05d}.jsonl" for i in range(7)]
    documents = [json.loads(line) for file in files for line in lines(file)]
    docnos, vectors = zip(*encoded.batches(), strict=True)
    assert [document["id"] for document in documents] == [docno for window in docnos for docno in window]
    expected = to_toks(Quantization().quantize(ConceptVectors.concatenate(vectors)), encoded.terms)
    assert [document["vector"] for document in documents] == expected
    assert documents[3]["vector"] == {}
    assert len(os.listdir(export_vectors(encoded, tmp_path / "many", shards=1000) / "docs")) == 60


def test_queries(model: SaeSplade, encoded: StoredVectors, queries: Path, tmp_path: Path) -> None:
    """They are multiplied by the idf of the quantised documents, then quantised. ``_`` stands for an empty query."""
    folder = export_vectors(encoded, tmp_path / "vectors", queries=queries)
    df = np.zeros(2048)
    for _, vectors in encoded.batches():
        np.add.at(df, Quantization().quantize(vectors).latents, 1)
    assert df.max() == 58  # a latent that all documents have except the empty ones
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


def test_invalid_arguments(model: SaeSplade, encoded: StoredVectors, queries: Path, tmp_path: Path) -> None:
    with pytest.raises(PathExistsError, match=str(queries)):
        export_vectors(encoded, queries)
    with pytest.raises(SettingError, match=r"shards .*\b0\b"):
        export_vectors(encoded, tmp_path / "vectors", shards=0)
    other = SaeSplade.from_pretrained(model.source, k=3)
    expected = rf"queries\.parquet.*{other.fingerprint[:8]}.*{model.fingerprint[:8]}"
    with pytest.raises(ModelMismatchError, match=expected):
        export_vectors(
            encoded, tmp_path / "vectors", queries=encode_topics(other, TOPICS, tmp_path / "queries.parquet")
        )
    assert os.listdir(tmp_path) == ["queries.parquet"]


def test_a_word_piece_with_a_blank(encoded: StoredVectors, tmp_path: Path) -> None:
    """Anserini would split it."""
    other = StoredVectors(encoded.folder)
    other.terms._names[int(next(encoded.batches())[1].latents[0])] = "two words"
    with pytest.raises(DataError, match="'two words'"):
        export_vectors(other, tmp_path / "vectors")
    assert os.listdir(tmp_path) == []


def test_the_public_function(model: SaeSplade, encoded: StoredVectors, queries: Path, tmp_path: Path) -> None:
    """It replaces an earlier export on request, and nothing else."""
    out = export(encoded, "anserini", tmp_path / "vectors")
    assert not (out / "topics.tsv").exists()
    with pytest.raises(PathExistsError, match=str(out)):
        export(encoded, "anserini", out, queries=queries)
    export(encoded, "anserini", out, queries=queries, overwrite=True)
    assert len(lines(out / "topics.tsv")) == 3
    (tmp_path / "mine").mkdir()
    with pytest.raises(PathExistsError, match=str(tmp_path / "mine")):
        export(encoded, "anserini", tmp_path / "mine", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["mine", "vectors"]


@pytest.mark.parametrize("name", ["pt_meta.json", "terms.json", "statistics.npz"])
def test_a_damaged_file_is_named(encoded: StoredVectors, tmp_path: Path, name: str) -> None:
    path = export_vectors(encoded, tmp_path / "exported") / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=str(path)):
        Description.read(path.parent)
