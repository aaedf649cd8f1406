"""The commands of the bridge and Pyserini's own. Their runs are those of the exact engine."""

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
from pyserini_bridge.index import build_index
from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.engines.lucene import impacts
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors

from .commands import Run, Worker, integers, python, read_run, saesplade
from .conftest import TOPICS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(model: SaeSplade, collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("indexes") / "exact"
    exact = model.indexer(path, "exact", quantization=Quantization()).index(collection.get_corpus_iter())
    run = model.retriever(exact)(TOPICS)
    assert run["qid"].nunique() == 2  # the empty query finds nothing
    return integers(run)


@pytest.fixture(scope="module")
def exported(store: StoredVectors, queries: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "VECTORS"
    saesplade("export", "--store", store.folder, "--queries", queries, "--format", "anserini", "--out", out)
    return out


@pytest.fixture(scope="module")
def stock_index(exported: Path, stock: Worker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that Pyserini's own command built."""
    folder = tmp_path_factory.mktemp("stock") / "INDEX"
    options = ["--collection", "JsonVectorCollection", "--input", exported / "docs", "--index", folder, "--threads", 2]
    options += ["--generator", "DefaultLuceneDocumentGenerator", "--impact", "--pretokenized"]
    stock.run("pyserini.index.lucene", *options)
    return folder


@pytest.fixture(scope="module")
def our_index(
    model: SaeSplade, collection: Collection, bridge: Worker, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An index of texts that the bridge's command built."""
    folder = tmp_path_factory.mktemp("ours") / "INDEX"
    documents = collection.folder  # type: ignore[attr-defined]
    bridge.run("pyserini_bridge.index", "--model", model.source, "--collection", documents, "--index", folder)
    return folder


def test_commands_of_pyserini(exported: Path, stock_index: Path, stock: Worker, expected: Run, tmp_path: Path) -> None:
    """Export, index, search: the last two are Pyserini's alone."""
    out = tmp_path / "run.trec"
    options = ["--impact", "--index", stock_index, "--topics", exported / "topics.tsv", "--output", out]
    stock.run("pyserini.search.lucene", *options, "--min-idf", -1, "--hits", 1000)
    assert read_run(out) == expected


def test_search_in_a_process_of_its_own(
    model: SaeSplade, collection: Collection, our_index: Path, expected: Run, tmp_path: Path
) -> None:
    """With plain text as topics, one of them empty."""
    out = tmp_path / "run.trec"
    topics = collection.folder / "queries.tsv"  # type: ignore[attr-defined]
    options = ["--index", our_index, "--topics", topics, "--encoder", f"sae:{model.source}", "--output", out]
    done = python("-m", "pyserini_bridge.search", *options, "--hits", 1000, "--batch-size", 2, "--threads", 2)
    assert done.returncode == 0, done.stderr
    assert read_run(out) == expected


def test_our_index_in_pyterrier(model: SaeSplade, our_index: Path, expected: Run) -> None:
    """The bridge builds an index of the engine anserini."""
    opened = pt.Artifact.load(str(our_index))
    assert len(opened) == 60
    assert opened.metadata["versions"]["pyserini"]
    assert integers(model.retriever(opened)(TOPICS)) == expected


def test_encode(model: SaeSplade, collection: Collection, bridge: Worker, tmp_path: Path) -> None:
    """Pyserini's command encodes documents in its format with a model of this package."""
    documents = list(collection.get_corpus_iter())
    (tmp_path / "corpus").mkdir()
    lines = [json.dumps({"id": document["docno"], "text": document["text"]}) for document in documents]
    (tmp_path / "corpus" / "docs.jsonl").write_text("\n".join(lines))
    options = ["--fields", "text", "output", "--embeddings", tmp_path / "out", "encoder", "--fields", "text"]
    encoder = ["--encoder", f"sae:{model.source}", "--device", "cpu"]
    bridge.run("pyserini_bridge.encode", "input", "--corpus", tmp_path / "corpus", *options, *encoder)
    written = [json.loads(line) for line in (tmp_path / "out" / "embeddings.jsonl").read_text().splitlines()]
    texts = model.encode([document["text"] for document in documents])
    assert [line["id"] for line in written] == [document["docno"] for document in documents]
    assert [line["vector"] for line in written] == impacts(texts, model.terms, Quantization())


def test_from_python(
    model: SaeSplade, exported: Path, stock_index: Path, our_index: Path, expected: Run, tmp_path: Path
) -> None:
    """Batch search in both indexes with the encoder or with encoded queries, and a query of any length."""
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
        vectors, stock, ours, out = map(Path, {[str(path) for path in (exported, stock_index, our_index, tmp_path)]!r})
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
    assert runs["numpy weights fail"]  # this is why the encoder returns Python integers
    assert len(read_run(tmp_path / "long.trec")) == 58  # all documents that are not empty, by a query of 2,048 terms


def test_invalid_arguments(
    model: SaeSplade,
    store: StoredVectors,
    stock_index: Path,
    our_index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are reported in one line, before Java is started, Pyserini is imported or anything is written."""

    def refused(main: Callable[[], None], *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit, match="2"):
            main()
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err.splitlines()[-1]

    new, nowhere = tmp_path / "new", tmp_path / "nowhere"
    assert f"{our_index} " in refused(index.main, "--store", store.folder, "--index", our_index)
    assert str(nowhere) in refused(index.main, "--store", nowhere, "--index", new)
    for arguments in (["--model", model.source], ["--store", store.folder, "--model", "x"]):
        line = refused(index.main, *arguments, "--index", new)
        assert all(option in line for option in ("--collection", "--model", "--store"))

    topics = ["--topics", "queries.tsv", "--output", tmp_path / "run", "--encoder", f"sae:{model.source}"]
    line = refused(search.main, "--index", stock_index, *topics)
    assert model.source in line
    assert "idf" in line
    line = refused(search.main, "--index", stock_index, *topics, "--vectors", stock_index)
    assert all(name in line for name in (str(stock_index), "pt_meta.json", "terms.json", "statistics.npz"))
    SaeSplade.from_pretrained(model.source, k=3).save_pretrained(tmp_path / "other")
    other = SaeSplade.from_pretrained(tmp_path / "other")
    line = refused(search.main, "--index", our_index, *topics[:-1], f"sae:{other.source}")
    assert other.fingerprint[:8] in line
    assert model.fingerprint[:8] in line
    assert "queries.tsv" in refused(search.main, "--index", our_index, *topics)
    assert str(nowhere) in refused(search.main, "--index", nowhere, *topics)
    for option in (["--max-length", 99], ["--max-length=99"]):
        assert "--max-length" in refused(encode.main, "input", "encoder", *option)
    assert os.listdir(tmp_path) == ["other"]


def test_the_index_of_a_store_is_that_of_the_texts(
    store: StoredVectors, our_index: Path, bridge: Worker, tmp_path: Path
) -> None:
    bridge.run("pyserini_bridge.index", "--store", store.folder, "--index", tmp_path / "INDEX")
    of_store, of_texts = (pt.Artifact.load(str(path)) for path in (tmp_path / "INDEX", our_index))
    assert of_store.metadata["n_docs"] == of_texts.metadata["n_docs"]
    assert of_store.fingerprint == of_texts.fingerprint
    query = pd.DataFrame([{"qid": "1", "query_toks": {"c9": 1.0, "c8": 0.5}}])
    runs = [opened.retriever(weighting="none")(query) for opened in (of_store, of_texts)]
    assert len(runs[0]) > 10
    pd.testing.assert_frame_equal(*runs)


def test_a_word_piece_with_a_blank(store: StoredVectors, tmp_path: Path) -> None:
    """Anserini would split it."""
    other = StoredVectors(store.folder)
    other.terms._names[int(next(store.batches())[1].latents[0])] = "two words"
    with pytest.raises(DataError, match="'two words'"):
        build_index(other, other.batches(), tmp_path / "index")
    assert os.listdir(tmp_path) == []
