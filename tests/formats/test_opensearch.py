"""Bulk files: what a server would index, the query that finds it, and the limits of servers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.formats import export, opensearch
from pyterrier_saesplade.impacts import Quantization, Terms
from pyterrier_saesplade.store import StoredVectors

from .conftest import MakeStore


def bulk_documents(folder: Path) -> dict[str, dict[str, float]]:
    """Reads the files as a server does: an action and a document in turn."""
    files = sorted(folder.glob("bulk-*.ndjson"))
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    actions, documents = lines[::2], lines[1::2]
    assert all(list(action) == ["index"] and list(action["index"]) == ["_id"] for action in actions)
    assert all(list(document) == ["concepts"] for document in documents)
    assert all(file.read_bytes().endswith(b"\n") for file in files)
    return {a["index"]["_id"]: d["concepts"] for a, d in zip(actions, documents, strict=True)}


def rank_features(query: dict[str, Any]) -> dict[str, float]:
    clauses = [clause["rank_feature"] for clause in query["query"]["bool"]["should"]]
    assert all(clause["linear"] == {} for clause in clauses)
    return {clause["field"].removeprefix("concepts."): clause["boost"] for clause in clauses}


def sparse_vector(query: dict[str, Any]) -> dict[str, float]:
    clause = query["query"]["sparse_vector"]
    assert clause["field"] == "concepts"
    assert clause["prune"] is False
    vector: dict[str, float] = clause["query_vector"]
    return vector


@pytest.mark.parametrize(
    ("format", "field", "read"),
    [("opensearch", "rank_features", rank_features), ("elasticsearch", "sparse_vector", sparse_vector)],
)
def test_the_files(
    format: str, field: str, read: Callable[[dict[str, Any]], dict[str, float]], store: StoredVectors, tmp_path: Path
) -> None:
    """No name has a dot, every weight is positive, and the example finds the first document."""
    folder = export(store, format, tmp_path / "bulk")
    assert sorted(path.name for path in folder.iterdir()) == [
        "bulk-00000.ndjson",
        "export.json",
        "mapping.json",
        "query.json",
    ]
    mapping = json.loads((folder / "mapping.json").read_text(encoding="utf-8"))
    assert mapping == {"mappings": {"properties": {"concepts": {"type": field}}}}
    documents = bulk_documents(folder)
    assert list(documents) == [document["docno"] for document in store.get_corpus_iter()]
    assert documents["d0"] == {"cat": 1.26, "__": 0.3, "never__": 7.0}
    assert documents["empty"] == {}
    assert all(weight > 0 and "." not in name for vector in documents.values() for name, weight in vector.items())
    query = read(json.loads((folder / "query.json").read_text(encoding="utf-8")))
    assert list(query.items()) == [("never__", 7.0), ("cat", 1.26), ("__", 0.3)]
    scores = {docno: sum(query.get(n, 0) * w for n, w in vector.items()) for docno, vector in documents.items()}
    assert max(scores, key=scores.__getitem__) == "d0"


def test_integers(store: StoredVectors, tmp_path: Path) -> None:
    folder = export(store, "opensearch", tmp_path / "bulk", quantization=Quantization())
    assert bulk_documents(folder)["🙂"] == {"__": 256, "東京": 70000}


def test_requests_have_a_limit(random_store: StoredVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are as large as allowed, and each document is in one file."""
    whole = bulk_documents(export(random_store, "opensearch", tmp_path / "whole"))
    monkeypatch.setattr(opensearch, "BULK_BYTES", 5000)
    folder = export(random_store, "opensearch", tmp_path / "parts")
    sizes = [path.stat().st_size for path in sorted(folder.glob("bulk-*"))]
    assert len(sizes) > 5
    assert max(sizes) <= 5000
    assert min(sizes[:-1]) > 4000
    assert bulk_documents(folder) == whole
    monkeypatch.setattr(opensearch, "BULK_BYTES", 1)
    assert len(list(export(random_store, "opensearch", tmp_path / "single").glob("bulk-*"))) == 300


def test_documents_that_servers_refuse(make_store: MakeStore, tmp_path: Path) -> None:
    long = make_store([([0], [1.0])], ["é" * 257], Terms(1))
    with pytest.raises(DataError, match=r"\b512\b"):
        export(long, "opensearch", tmp_path / "bulk")
    alike = make_store([([0], [1.0])], ["d"], Terms(2, [".", "__"]))
    with pytest.raises(DataError, match=r"'\.' and '__'"):
        export(alike, "elasticsearch", tmp_path / "bulk")
    assert not (tmp_path / "bulk").exists()
