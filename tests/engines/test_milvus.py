"""Milvus, embedded and as a server, which is Milvus Lite in another process."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymilvus import MilvusClient

from pyterrier_saesplade.engines import ExactConceptIndex, MilvusConceptIndex, milvus
from pyterrier_saesplade.errors import DataError, EngineError, PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

Windows = list[tuple[list[str], ConceptVectors]]

WIDTH = 2048


def random_vectors(seed: int, n: int, most: int) -> ConceptVectors:
    """Vectors of floats. Some are empty; latent 0 is in all others."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        latents = np.unique(np.append(rng.integers(WIDTH, size=rng.integers(most)), 0))
        rows.append((latents, rng.gamma(1.0, size=len(latents))) if rng.random() < 0.9 else ([], []))
    return ConceptVectors.from_rows(rows)


def documents(seed: int = 0, n: int = 100) -> Windows:
    return [([f"d{i}" for i in range(n)], random_vectors(seed, n, 60))]


def search(index: Any, vectors: ConceptVectors, k: int = 1000) -> list[list[tuple[str, float]]]:
    return [list(zip(hits.docnos, hits.scores.tolist(), strict=True)) for hits in index.search(vectors, k)]


def one(latent: int, weight: float = 1.0) -> ConceptVectors:
    return ConceptVectors.from_rows([([latent], [weight])])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty server."""
    with serving(tmp_path_factory.mktemp("server") / "data") as uri:
        yield uri


@contextmanager
def serving(data: Path) -> Iterator[str]:
    """Runs a server over a folder; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
    command += ["--data-dir", str(data), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def cluster(uri: str, collection: str, **options: int) -> dict[str, Any]:
    return {"uri": uri, "collection": collection, **options}


def never() -> Iterator[tuple[list[str], ConceptVectors]]:
    pytest.fail("a document was read")
    yield [], ConceptVectors.from_rows([])


@pytest.mark.slow
@pytest.mark.parametrize("where", ["embedded", "partitions", "server"])
def test_scores_equal_those_of_the_exact_engine(where: str, model: SaeSplade, served: str, tmp_path: Path) -> None:
    options = {
        "embedded": {},
        "partitions": {"num_partitions": 3},
        "server": cluster(served, "equal", num_shards=2, num_partitions=3),
    }
    index = model.indexer(tmp_path / "index", "milvus", engine_options=options[where]).index_vectors(documents())
    exact = model.indexer(tmp_path / "exact", "exact").index_vectors(documents())
    assert len(index) == len(exact) == 100
    assert index.quantization is index.query_scale is None
    queries = ConceptVectors.concatenate([random_vectors(1, 30, 40), random_vectors(2, 3, 8000), one(0), one(3)])
    assert max(np.diff(queries.indptr)) > 1900
    for k in (5, 1000):
        for found, expected in zip(search(index, queries, k), search(exact, queries, k), strict=True):
            assert [docno for docno, _ in found] == [docno for docno, _ in expected]
            np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], rtol=1e-6)
    assert len(search(index, one(0))[0]) == np.count_nonzero(np.diff(documents()[0][1].indptr)) < 100


def test_weights_of_any_size(model: SaeSplade, tmp_path: Path) -> None:
    weights = [0.0, 0.4, 255.0, 256.0, 70_000.0]
    rows = ConceptVectors.from_rows([([7], [weight]) for weight in weights])
    index = model.indexer(tmp_path / "index", "milvus").index_vectors([(list("abcde"), rows)])
    assert len(index) == 5
    assert search(index, one(7)) == [[("e", 70_000), ("d", 256), ("c", 255), ("b", np.float32(0.4))]]
    assert search(index, one(7, 0.0)) == [[]]
    assert search(index, one(7, 70_000.0))[0][0] == ("e", np.float32(4.9e9))


def test_docnos_of_any_kind_and_a_single_document(model: SaeSplade, tmp_path: Path) -> None:
    docnos = ["two words", "🐘 and 東京", "x" * 65_535, '"quoted\\"', "%s"]
    rows = ConceptVectors.from_rows([([i], [1.0]) for i in range(5)])
    index = model.indexer(tmp_path / "index", "milvus").index_vectors([(docnos, rows)])
    assert [search(index, one(i)) for i in range(5)] == [[[(docno, 1)]] for docno in docnos]
    with pytest.raises(DataError, match=r"docno .*\b65537\b.*\b65535\b"):
        model.indexer(tmp_path / "long", "milvus").index_vectors([(["é" * 32_768 + "e"], one(0))])
    single = model.indexer(tmp_path / "single", "milvus").index_vectors([(["d"], one(5))])
    assert search(single, ConceptVectors.concatenate([one(5), one(6)])) == [[("d", 1)], []]


def test_more_results_than_milvus_returns(model: SaeSplade, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "milvus").index_vectors(documents())
    with pytest.raises(SettingError, match=r"\b16384\b.*\b16385\b"):
        index.retriever(16_385)(pd.DataFrame([{"qid": "1", "query_toks": {"c0": 1.0}}]))
    assert len(search(index, one(0), 16_384)[0]) > 50


def test_an_index_can_be_moved_and_replaced(model: SaeSplade, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "milvus").index_vectors([(["first"], one(5))])
    assert search(index, one(5)) == [[("first", 1)]]
    other = model.indexer(tmp_path / "index", "milvus", overwrite=True).index_vectors([(["second"], one(5))])
    assert search(other, one(5)) == [[("second", 1)]]
    del other  # closes the database
    (tmp_path / "index").rename(tmp_path / "moved")
    assert search(MilvusConceptIndex(tmp_path / "moved"), one(5)) == [[("second", 1)]]


@pytest.mark.slow
def test_an_embedded_index_is_for_one_process(model: SaeSplade, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "milvus").index_vectors(documents())
    expected = search(index, one(0))
    (database,) = (tmp_path / "index").glob("milvus-*.db")
    program = f"""
        from pyterrier_saesplade.engines import MilvusConceptIndex
        MilvusConceptIndex({str(index.path)!r}).client
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    error = done.stderr.splitlines()[-1]
    assert error.startswith("pyterrier_saesplade.errors.EngineError: ")
    assert f" {database}" in error
    assert f"milvus-lite server --host 127.0.0.1 --data-dir {database}" in error
    del index
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
    with serving(database) as uri:
        assert search(MilvusConceptIndex(tmp_path / "index", uri), one(0)) == expected


@pytest.mark.slow
def test_nothing_is_printed(model: SaeSplade, served: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for options in ({}, cluster(served, "silent")):
        indexer = model.indexer(tmp_path / f"index{len(options)}", "milvus", engine_options=options, verbose=False)
        search(indexer.index_vectors(documents()), one(0))
    with pytest.raises(EngineError):
        MilvusConceptIndex(tmp_path / "index0", "http://127.0.0.1:1").search(one(0), 10)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_plain_collection_works_without_this_package(model: SaeSplade, served: str, tmp_path: Path) -> None:
    options = cluster(served, "plain", num_partitions=2)
    index = model.indexer(tmp_path / "index", "milvus", engine_options=options).index_vectors(documents())
    client = MilvusClient(served)
    (hits,) = client.search("plain", data=[{0: 1.0}], anns_field="vector", limit=3, output_fields=["docno"])
    assert [hit["entity"]["docno"] for hit in hits] == [docno for docno, _ in search(index, one(0), 3)[0]]
    assert client.describe_alias("plain")["collection_name"] == index.collection
    fields = client.describe_collection("plain")["fields"]
    assert [field["name"] for field in fields] == ["position", "docno", "vector"]
    assert [field.get("is_partition_key", False) for field in fields] == [False, True, False]
    assert fields[1]["params"] == {"max_length": 3}


@pytest.mark.slow
def test_the_folder_of_an_index_on_a_cluster(
    model: SaeSplade, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    options = cluster(served, "folder")
    index = model.indexer(tmp_path / "index", "milvus", engine_options=options).index_vectors(documents())
    assert sorted(os.listdir(tmp_path / "index")) == ["milvus.json", "pt_meta.json", "statistics.npz", "terms.json"]
    description = json.loads((tmp_path / "index" / "milvus.json").read_text())
    assert description.pop("version").startswith("milvus_lite-")
    assert description == {"uri": served, "collection": index.collection}
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "index").iterdir())
    assert "secret" not in repr(index)
    assert index == MilvusConceptIndex(tmp_path / "index")
    assert index != MilvusConceptIndex(tmp_path / "index", served)
    assert search(index, one(0)) == search(MilvusConceptIndex(tmp_path / "index", served), one(0))


@pytest.mark.slow
def test_a_collection_is_replaced_only_on_request(model: SaeSplade, served: str, tmp_path: Path) -> None:
    options = cluster(served, "kept")
    first = model.indexer(tmp_path / "first", "milvus", engine_options=options).index_vectors(documents(0))
    with pytest.raises(PathExistsError, match=rf"\bkept\b.*{served}.*\boverwrite=True"):
        model.indexer(tmp_path / "second", "milvus", engine_options=options).index_vectors(never())
    assert len(search(first, one(0))[0]) > 50

    indexer = model.indexer(tmp_path / "second", "milvus", engine_options=options, overwrite=True)
    second = indexer.index_vectors(documents(1))
    assert first.collection != second.collection
    assert len(search(second, one(0))[0]) > 50
    with pytest.raises(PathNotFoundError, match=rf"{first.collection}.*{tmp_path}/first.*{served}"):
        search(MilvusConceptIndex(tmp_path / "first"), one(0))

    same = model.indexer(tmp_path / "third", "milvus", engine_options=options, overwrite=True)
    assert same.index_vectors(documents(1)).collection == second.collection
    builds = [name for name in MilvusClient(served).list_collections() if name.startswith("kept")]
    assert builds == [second.collection]


@pytest.mark.slow
def test_a_collection_of_other_software_is_never_replaced(model: SaeSplade, served: str, tmp_path: Path) -> None:
    client = MilvusClient(served)
    client.create_collection("thesis", dimension=4)
    client.create_alias("thesis", "work")
    for name in ("thesis", "work"):
        indexer = model.indexer(tmp_path / "index", "milvus", engine_options=cluster(served, name), overwrite=True)
        with pytest.raises(PathExistsError, match=f"{name} .*{served}"):
            indexer.index_vectors(never())
    assert client.has_collection("thesis")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1], ids=["the same documents", "others"])
def test_a_killed_upload(
    seed: int, model: SaeSplade, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"killed{seed}"
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pymilvus import MilvusClient
        from pyterrier_saesplade.engines import milvus
        from pyterrier_saesplade.saesplade import SaeSplade
        from test_milvus import cluster, documents
        upsert, batches = MilvusClient.upsert, []
        def dying(client, collection, rows):
            batches.append(rows)
            if len(batches) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            upsert(client, collection, rows)
        MilvusClient.upsert, milvus._BATCH = dying, 10
        model = SaeSplade.from_pretrained({model.source!r})
        indexer = model.indexer({str(tmp_path / "index")!r}, "milvus", engine_options=cluster({served!r}, {name!r}))
        indexer.index_vectors(documents(0))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    client = MilvusClient(served)
    (unfinished,) = [collection for collection in client.list_collections() if collection.startswith(name)]
    assert milvus._count(client, unfinished) == 30
    assert not client.has_collection(name), "the alias"

    sent = []
    upsert = MilvusClient.upsert

    def counting(client: MilvusClient, collection: str, rows: list[dict[str, Any]]) -> None:
        sent.extend(row["position"] for row in rows)
        upsert(client, collection, rows)

    monkeypatch.setattr(MilvusClient, "upsert", counting)
    monkeypatch.setattr(milvus, "_BATCH", 10)
    indexer = model.indexer(tmp_path / "index", "milvus", engine_options=cluster(served, name))
    index = indexer.index_vectors(documents(seed))
    positions = np.flatnonzero(np.diff(documents(seed)[0][1].indptr)).tolist()
    assert sent == (positions[20:] if seed == 0 else positions)
    assert (index.collection == unfinished) is (seed == 0)
    assert client.has_collection(unfinished) is (seed == 0)
    exact = model.indexer(tmp_path / "exact", "exact").index_vectors(documents(seed))
    assert isinstance(exact, ExactConceptIndex)
    queries = random_vectors(5, 20, 60)
    for found, expected in zip(search(index, queries), search(exact, queries), strict=True):
        assert [docno for docno, _ in found] == [docno for docno, _ in expected]


def test_the_same_documents_in_other_chunks_are_the_same_build(model: SaeSplade, tmp_path: Path) -> None:
    ((docnos, vectors),) = documents()
    halves = [(docnos[:33], vectors.take(range(33))), (docnos[33:], vectors.take(range(33, 100)))]
    names = set()
    for number, windows in enumerate([documents(), halves, documents(1)]):
        index = model.indexer(tmp_path / str(number), "milvus").index_vectors(windows)
        assert isinstance(index, MilvusConceptIndex)
        names.add(index.collection)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("options", "error", "fact"),
    [
        ({"num_shards": 0}, SettingError, r"num_shards .*\b0\b"),
        ({"num_partitions": 2.5}, SettingError, r"num_partitions .*\b2\.5\b"),
        ({"uri": "http://127.0.0.1:1"}, SettingError, "uri .*collection"),
        ({"collection": "docs"}, SettingError, "uri .*collection"),
        ({"uri": "./docs.db", "collection": "docs"}, SettingError, r"uri .*'\./docs\.db'"),
        ({"uri": "http://me:pw@host", "collection": "docs"}, SettingError, "uri .*password.*MILVUS_TOKEN"),
        ({"uri": "http://127.0.0.1:1", "collection": "my docs"}, SettingError, r"collection .*\b199\b.*'my docs'"),
        ({"uri": "http://127.0.0.1:1", "collection": 7}, SettingError, r"collection .*\b7\b"),
        ({"uri": "http://127.0.0.1:1", "collection": "docs"}, EngineError, "http://127.0.0.1:1"),
    ],
)
def test_options_are_checked_before_any_work(
    options: dict[str, Any], error: type[Exception], fact: str, model: SaeSplade, tmp_path: Path
) -> None:
    with pytest.raises(error, match=fact):
        model.indexer(tmp_path / "index", "milvus", engine_options=options).index_vectors(never())
    assert os.listdir(tmp_path) == []


def test_unknown_options(model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"'milvus'.*'shards'.*'uri', 'collection', 'num_shards'"):
        model.indexer(tmp_path / "index", "milvus", engine_options={"shards": 3})
    with pytest.raises(SettingError, match=r"'milvus'.*'overwrite'"):
        model.indexer(tmp_path / "index", "milvus", engine_options={"overwrite": True})
    with pytest.raises(SettingError, match=r"'exact'.*'uri'.*\bnone\b"):
        model.indexer(tmp_path / "index", "exact", engine_options={"uri": "http://host"})


def test_an_incomplete_index(model: SaeSplade, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "milvus").index_vectors(documents())
    (database,) = (tmp_path / "index").glob("milvus-*.db")
    database.rename(tmp_path / "elsewhere")
    with pytest.raises(PathNotFoundError, match=str(database)):
        search(index, one(0))
    with pytest.raises(SettingError, match=r"uri .*'docs\.db'"):
        MilvusConceptIndex(tmp_path / "index", "docs.db")
