"""Inspecting indexes and stores."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from pyterrier_saesplade.engines import ENGINES, ConceptIndexer, inspect
from pyterrier_saesplade.errors import DataError, PathNotFoundError
from pyterrier_saesplade.formats import import_vectors
from pyterrier_saesplade.impacts import Pruning, Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors
from pyterrier_saesplade.vectors import ConceptVectors

LINES = [
    {"docno": "d1", "vector": {"the": 1.0, "cat": 2.0}},
    {"docno": "d2", "vector": {"the": 1.0, "dog": 0.01}},
    {"docno": "d3", "vector": {}},
    {"docno": "d4", "vector": {"the": 3.0, "cat": 1.0}},
]


@pytest.fixture
def store(tmp_path: Path) -> StoredVectors:
    path = tmp_path / "pets.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    return import_vectors(path, "jsonl", tmp_path / "store")


def test_a_store(store: StoredVectors) -> None:
    found = inspect(store.folder)
    assert (found.kind, found.format, found.model) == ("store", "parquet", "pets.jsonl")
    assert (found.fingerprint, found.width, found.weighting) == (store.fingerprint, 3, "none")
    assert found.quantization is None
    assert (found.n_docs, found.n_postings, found.latents_per_document) == (4, 6, 1.5)
    assert (found.latents_in_use, found.share_in_use) == (3, 1.0)
    assert found.most_frequent == (("the", 3), ("cat", 2), ("dog", 1))
    assert found.size == sum(path.stat().st_size for path in store.folder.iterdir())
    assert inspect(store.folder, latents=1).most_frequent == (("the", 3),)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_index_of_each_engine(engine: str, store: StoredVectors, tmp_path: Path) -> None:
    """Counts are taken after quantisation, which rounds one weight to zero."""
    quantization = Quantization(20, clip=50)
    with pytest.warns(UserWarning, match=r"\b1 of 6\b.*\b50\b"):
        ConceptIndexer(store, tmp_path / "index", engine, quantization=quantization).index(store)
    found = inspect(tmp_path / "index")
    assert (found.kind, found.format, found.quantization) == ("index", engine, quantization)
    assert (found.n_docs, found.n_postings, found.latents_per_document) == (4, 5, 1.25)
    assert (found.latents_in_use, round(found.share_in_use, 3)) == (2, 0.667)
    assert found.most_frequent == (("the", 3), ("cat", 2))
    assert found.size > 1000
    assert found.versions.keys() >= {"pyterrier", "torch"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.n_docs = 5  # type: ignore[misc]


def test_the_printed_summary(store: StoredVectors, tmp_path: Path) -> None:
    index = ConceptIndexer(store, tmp_path / "index", "exact", quantization=Quantization(clip=255)).index(store)
    lines = str(inspect(tmp_path / "index")).splitlines()
    size = sum(path.stat().st_size for path in (tmp_path / "index").iterdir())
    assert lines[:9] == [
        f"index         {tmp_path / 'index'} (exact)",
        "model         pets.jsonl",
        f"fingerprint   {store.fingerprint}",
        "weighting     none",
        "quantisation  10 levels per unit of weight, at most 255",
        "documents     4",
        "postings      5, 1.2 per document",
        "vocabulary    3 latents, 2 (66.7%) in use",
        f"on disk       {size / 1e6:.2f} MB, {size / 5:.1f} bytes per posting",
    ]
    assert lines[9].startswith("written by    ")
    assert f"pyterrier {index.metadata['versions']['pyterrier']}" in lines[9]
    assert lines[10:] == [
        "most frequent latents and their document frequencies:",
        "  the         3   75.0%",
        "  cat         2   50.0%",
    ]
    assert "quantisation  none: weights are floats" in str(inspect(store.folder))


def test_the_summary_of_a_pruned_index(store: StoredVectors, tmp_path: Path) -> None:
    ConceptIndexer(store, tmp_path / "index", "exact", pruning=Pruning(k=1), max_df=0.4).index(store)
    assert (
        "pruned        k 1, max_df 0.4; removed 3 postings from documents, and 1 frequent latents with 2 postings"
        in str(inspect(tmp_path / "index")).splitlines()
    )
    pruning = json.loads(inspect(tmp_path / "index").to_json())["pruning"]
    assert (pruning["documents"]["k"], pruning["max_df"], pruning["pruned_postings"]) == (1, 0.4, 3)
    assert json.loads(inspect(store.folder).to_json())["pruning"] is None


def test_json(store: StoredVectors) -> None:
    found = json.loads(inspect(store.folder).to_json())
    assert found["path"] == str(store.folder)
    assert found["quantization"] is None
    assert found["latents_per_document"] == 1.5
    assert found["most_frequent"][0] == {"latent": "the", "df": 3}
    assert found["versions"] == store.manifest["versions"]


def test_neither_an_index_nor_a_store(random_model_path: Path, tmp_path: Path) -> None:
    """A missing folder, a folder of something else, an artifact of another kind, and an index of an unknown engine."""
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path / "nowhere"))):
        inspect(tmp_path / "nowhere")
    for content in (None, "no JSON", "[]", '{"type": "dense_index", "format": "flex"}'):
        if content is not None:
            (tmp_path / "pt_meta.json").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=re.escape(str(tmp_path))):
            inspect(tmp_path)
    model = SaeSplade.from_pretrained(random_model_path)
    vectors = ConceptVectors.from_rows([([1], [1.0])])
    index = model.indexer(tmp_path / "index", "exact").index_vectors([(["d"], vectors)])
    (tmp_path / "index" / "pt_meta.json").write_text(json.dumps(index.metadata | {"format": "x"}), encoding="utf-8")
    with pytest.raises(DataError, match=r"'x'.*'terrier'"):
        inspect(tmp_path / "index")
