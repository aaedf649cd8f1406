"""The commands as a user gives them, in processes of their own; their runs are those of the exact engine."""

import json
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

from pyserini_bridge import encode, index, search
from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.engines.java import ALL_ENGINES, find_java
from pyterrier_saesplade.engines.lucene import impacts
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors

from .commands import Run, command, integers, python, read_run, stock_command
from .conftest import TOPICS


@pytest.fixture(scope="module")
def java() -> str:
    """What stock commands need, and ours find."""
    return str(find_java(ALL_ENGINES).path)


@pytest.fixture(scope="module")
def expected(model: SaeSplade, collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("indexes") / "exact"
    exact = model.indexer(path, "exact", quantization=Quantization()).index(collection.get_corpus_iter())
    run = model.retriever(exact)(TOPICS)
    assert run["qid"].nunique() == 2
    return integers(run)


@pytest.fixture(scope="module")
def vectors(store: StoredVectors, queries: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "VECTORS"
    options = ["--store", store.folder, "--queries", queries, "--format", "anserini", "--out", out]
    command("pyterrier_saesplade.cli", "export", *options)
    return out


@pytest.fixture(scope="module")
def stock(vectors: Path, java: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that Pyserini's own command built."""
    folder = tmp_path_factory.mktemp("stock") / "INDEX"
    options = ["--collection", "JsonVectorCollection", "--input", vectors / "docs", "--index", folder, "--threads", 2]
    options += ["--generator", "DefaultLuceneDocumentGenerator", "--impact", "--pretokenized"]
    stock_command("pyserini.index.lucene", *options, java_home=java)
    return folder


@pytest.fixture(scope="module")
def ours(model: SaeSplade, collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that our command built, of texts."""
    folder = tmp_path_factory.mktemp("ours") / "INDEX"
    documents = collection.folder  # type: ignore[attr-defined]
    command("pyserini_bridge.index", "--model", model.source, "--collection", documents, "--index", folder)
    return folder


def test_pyserini_s_own_commands(vectors: Path, stock: Path, java: str, expected: Run, tmp_path: Path) -> None:
    """Export, index, search: no Python of ours in the last two."""
    out = tmp_path / "run.trec"
    options = ["--impact", "--index", stock, "--topics", vectors / "topics.tsv", "--output", out, "--min-idf", -1]
    stock_command("pyserini.search.lucene", *options, "--hits", 1000, java_home=java)
    assert read_run(out) == expected


def test_our_index_and_our_model_in_pyserini_s_search(
    model: SaeSplade, collection: Collection, ours: Path, expected: Run, tmp_path: Path
) -> None:
    """Plain text as topics, with an empty one."""
    out = tmp_path / "run.trec"
    topics = collection.folder / "queries.tsv"  # type: ignore[attr-defined]
    options = ["--index", ours, "--topics", topics, "--encoder", f"sae:{model.source}", "--output", out]
    command("pyserini_bridge.search", *options, "--hits", 1000, "--batch-size", 2, "--threads", 2)
    assert read_run(out) == expected


def test_our_index_in_pyterrier(model: SaeSplade, ours: Path, expected: Run) -> None:
    """What the bridge builds is an index of the engine anserini."""
    opened = pt.Artifact.load(str(ours))
    assert len(opened) == 60
    assert opened.metadata["versions"]["pyserini"]
    assert integers(model.retriever(opened)(TOPICS)) == expected


def test_encode(model: SaeSplade, collection: Collection, tmp_path: Path) -> None:
    """Documents of Pyserini's format, by Pyserini's command, with our model."""
    documents = list(collection.get_corpus_iter())
    (tmp_path / "corpus").mkdir()
    lines = [json.dumps({"id": document["docno"], "text": document["text"]}) for document in documents]
    (tmp_path / "corpus" / "docs.jsonl").write_text("\n".join(lines))
    options = ["--fields", "text", "output", "--embeddings", tmp_path / "out", "encoder", "--fields", "text"]
    encoder = ["--encoder", f"sae:{model.source}", "--device", "cpu"]
    command("pyserini_bridge.encode", "input", "--corpus", tmp_path / "corpus", *options, *encoder)
    written = [json.loads(line) for line in (tmp_path / "out" / "embeddings.jsonl").read_text().splitlines()]
    texts = model.encode([document["text"] for document in documents])
    assert [line["id"] for line in written] == [document["docno"] for document in documents]
    assert [line["vector"] for line in written] == impacts(texts, model.terms, Quantization())


def test_from_python(
    model: SaeSplade, vectors: Path, stock: Path, ours: Path, queries: Path, expected: Run, tmp_path: Path
) -> None:
    """The encoder, batched, on either index; queries as Pyserini keeps them; what else Pyserini can't do without us."""
    script = f"""
        import json, sys
        from pathlib import Path
        from pyserini_bridge import compat, jvm, search
        compat.prepare()
        from pyserini.search.lucene import LuceneImpactSearcher
        from pyserini.pyclass import JInt
        from pyserini_bridge.encoders import SaeQueryEncoder
        import jnius, numpy as np

        assert "pyterrier" not in sys.modules
        vectors, stock, ours, out = map(Path, {[str(path) for path in (vectors, stock, ours, tmp_path)]!r})
        topics = {dict(zip(TOPICS["qid"], TOPICS["query"], strict=True))!r}
        runs = {{}}

        def batch_search(name, index, encoder, texts):
            searcher = LuceneImpactSearcher(str(index), encoder, min_idf=-1)
            found = searcher.batch_search(texts, list(topics), k=1000, threads=2)
            runs[name] = [[qid, hit.docid, round(hit.score)] for qid, hits in found.items() for hit in hits]

        sizes = []
        class Counting(SaeQueryEncoder):
            def _encode(self, texts):
                sizes.append(len(texts))
                return super()._encode(texts)

        encoder = Counting({model.source!r}, vectors)
        encoder.prepare(topics.values())
        encoder.prepare(topics.values())
        batch_search("stock", stock, encoder, list(topics.values()))
        assert sizes == [3, 0], sizes
        assert all(type(weight) is int for weight in encoder.encode(topics["7"]).values())
        batch_search("ours", ours, SaeQueryEncoder({model.source!r}, ours), list(topics.values()))
        batch_search("cached", ours, str(vectors / "queries.jsonl"), [text or "_" for text in topics.values()])

        try:
            JInt(np.int64(3))
        except jnius.JavaException:
            runs["numpy weights fail"] = True

        terms = " ".join(f"c{{latent}}" for latent in range(2048))
        (out / "long.tsv").write_text(f"all\\t{{terms}}\\nnone\\t\\n")
        sys.argv[1:] = ["--index", str(ours), "--topics", str(out / "long.tsv"), "--output", str(out / "long.trec")]
        search.main()
        (out / "runs.json").write_text(json.dumps(runs))
    """
    done = python("-c", textwrap.dedent(script))
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "runs.json").read_text())
    for name in ("stock", "ours", "cached"):
        assert {(qid, docno): score for qid, docno, score in runs[name]} == expected, name
    assert runs["numpy weights fail"]  # else weights need not be Python's
    assert len(read_run(tmp_path / "long.trec")) == 58  # every document that is not empty; 2,048 terms are no limit


def test_mistakes(
    model: SaeSplade,
    store: StoredVectors,
    stock: Path,
    ours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, before Java is started, Pyserini imported or anything written."""

    def mistake(main: Callable[[], None], *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit, match="2"):
            main()
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err.splitlines()[-1]

    line = mistake(index.main, "--store", store.folder, "--index", ours)
    assert line.endswith("INDEX exists already: name another path, or remove it")
    line = mistake(index.main, "--store", tmp_path / "nowhere", "--index", tmp_path / "new")
    assert "there is no store of concept vectors at" in line
    line = mistake(index.main, "--model", model.source, "--index", tmp_path / "new")
    assert "give --collection and --model, or --store" in line
    topics = ["--topics", "queries.tsv", "--output", tmp_path / "run", "--encoder", f"sae:{model.source}"]
    line = mistake(search.main, "--index", stock, *topics)
    assert "are multiplied by the idf of their latents: name the index, or the exported vectors, that have it" in line
    line = mistake(search.main, "--index", stock, *topics, "--vectors", stock)
    assert "does not say how its vectors were made (pt_meta.json, terms.json, statistics.npz)" in line
    other = SaeSplade.from_pretrained(model.source, k=3)
    other.save_pretrained(tmp_path / "other")
    line = mistake(search.main, "--index", ours, *topics[:-1], f"sae:{tmp_path / 'other'}")
    assert "the documents were encoded by another model" in line
    for option in (["--max-length", 99], ["--max-length=99"]):
        line = mistake(encode.main, "input", "encoder", *option)
        assert "--max-length is not for sae: models" in line
    line = mistake(search.main, "--index", ours, *topics)
    assert "there is no file of topics at queries.tsv" in line
    line = mistake(search.main, "--index", tmp_path / "nowhere", *topics)
    assert f"there is no index at {tmp_path / 'nowhere'}" in line
    line = mistake(index.main, "--store", store.folder, "--model", "x", "--index", tmp_path / "new")
    assert "give --collection and --model, or --store" in line
    assert os.listdir(tmp_path) == ["other"]


def test_the_store_s_index_is_that_of_the_texts(store: StoredVectors, ours: Path, tmp_path: Path) -> None:
    command("pyserini_bridge.index", "--store", store.folder, "--index", tmp_path / "INDEX")
    of_store, of_texts = (pt.Artifact.load(str(path)) for path in (tmp_path / "INDEX", ours))
    assert of_store.metadata["n_docs"] == of_texts.metadata["n_docs"]
    assert of_store.fingerprint == of_texts.fingerprint
    query = pd.DataFrame([{"qid": "1", "query_toks": {"c9": 1.0, "c8": 0.5}}])
    runs = [opened.retriever(weighting="none")(query) for opened in (of_store, of_texts)]
    assert len(runs[0]) > 10
    pd.testing.assert_frame_equal(*runs)
