"""The engine anserini, apart from what all engines do: where Java runs, and what else reads its index."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pyterrier_saesplade
from pyterrier_saesplade.engines import AnseriniConceptIndex
from pyterrier_saesplade.engines.lucene import get_lucene, jvm
from pyterrier_saesplade.engines.lucene.process import LuceneProcess
from pyterrier_saesplade.errors import JavaNotFoundError
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

QUERY = pd.DataFrame([{"qid": "q", "query_toks": {"c1": 1.0}}])


def build(model: SaeSplade, path: Path, rows: list[tuple[list[int], list[float]]], overwrite: bool = False) -> object:
    docnos = [f"d {i} 𝄞" for i in range(len(rows))]
    indexer = model.indexer(path, "anserini", overwrite=overwrite)
    return indexer.index_vectors([(docnos, ConceptVectors.from_rows(rows))])


@pytest.mark.parametrize("weights", [[0.04, 25.5, 25.6, 7000.0], [0.1, 0.2, 0.3, 0.4]])
def test_impacts_of_any_size(model: SaeSplade, tmp_path: Path, weights: list[float]) -> None:
    """What falls to zero is gone; 255 is no ceiling; 70,000 is stored as it is."""
    rows = [([1, 2], [weight, 1.0]) for weight in weights]
    corpus = [([f"d{i}" for i in range(4)], ConceptVectors.from_rows(rows))]
    runs = [
        model.indexer(tmp_path / engine, engine, quantization=Quantization()).index_vectors(corpus).retriever()(QUERY)
        for engine in ("anserini", "exact")
    ]
    pd.testing.assert_frame_equal(*runs)


def test_equal_scores_stand_in_the_order_of_indexing(model: SaeSplade, tmp_path: Path) -> None:
    """Also where windows and Lucene's segments meet, and where ``num_results`` cuts."""
    docnos = [str(i) for i in np.random.default_rng(0).permutation(3000)]
    rows = ConceptVectors.from_rows([([1], [1.0])] * 3000)
    windows = [(docnos[i : i + 700], rows.take(range(len(docnos))[i : i + 700])) for i in range(0, 3000, 700)]
    index = model.indexer(tmp_path / "index", "anserini").index_vectors(windows)
    assert index.retriever(2500, weighting="none")(QUERY)["docno"].tolist() == docnos[:2500]


def test_a_dead_process_is_started_again(model: SaeSplade, tmp_path: Path) -> None:
    build(model, tmp_path / "index", [([1], [1.0])])
    process = get_lucene()
    assert isinstance(process, LuceneProcess)
    before = process.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    retriever = AnseriniConceptIndex(tmp_path / "index").retriever()
    assert retriever(QUERY)["docno"].tolist() == ["d 0 𝄞"]
    assert process.pid not in (None, before)


def test_an_interrupted_build_does_not_confuse_the_next(tmp_path: Path) -> None:
    """Half a request is in the pipe: the process is ended, and the next request has a new one."""

    def interrupted():  # noqa: ANN202
        yield [("d1", "c1\x011")]
        raise KeyboardInterrupt

    process = LuceneProcess()
    with pytest.raises(KeyboardInterrupt):
        process.write(tmp_path, interrupted())
    assert process.pid is None
    assert process.write(tmp_path, [[("d1", "c1\x011"), ("d2", "")]]) == 2
    assert json.loads(process.search(tmp_path, [{"c1": 3}], 10))[0]["scoreDocs"][0]["score"] == 3.0
    process.close()
    assert process.pid is None


def test_errors_of_java(tmp_path: Path) -> None:
    """They come back, and the process goes on."""
    process = LuceneProcess()
    with pytest.raises(RuntimeError, match="IndexNotFoundException"):
        process.search(tmp_path, [{"c1": 3}], 10)
    with pytest.raises(RuntimeError, match=r"Anserini failed: .*NumberFormatException"):
        process.write(tmp_path, [[("d1", "c1\x01many"), ("d2", "")], [("d3", "")]])
    pid = process.pid
    assert process.write(tmp_path, [[("d1", "c1\x011")]]) == 1
    assert process.pid == pid
    process.close()


def test_the_worker_belongs_to_the_package_that_started_it(tmp_path: Path) -> None:
    """A copy that only its own process can import starts its own worker, whatever else is installed."""
    copy = shutil.copytree(Path(pyterrier_saesplade.__file__).parent, tmp_path / "pyterrier_saesplade")
    (copy / "engines" / "lucene" / "worker.py").write_text("""input(); print('{"result": "of the copy"}')""")
    script = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from pathlib import Path
        from pyterrier_saesplade.engines.lucene.process import LuceneProcess
        print(LuceneProcess().search(Path("index"), [], 1))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout == '"of the copy"\n', done.stderr


def test_an_index_that_was_replaced(model: SaeSplade, tmp_path: Path) -> None:
    for weight in (1.0, 2.0):
        build(model, tmp_path / "index", [([1], [weight])], overwrite=True)
        run = AnseriniConceptIndex(tmp_path / "index").retriever(weighting="none")(QUERY)
        assert run["score"].tolist() == [weight]


def test_many_open_indexes(model: SaeSplade, tmp_path: Path) -> None:
    """More than the process keeps open."""
    indexes = [build(model, tmp_path / str(i), [([1], [i + 1.0])]) for i in range(18)]
    for _ in range(2):
        scores = [index.retriever(weighting="none")(QUERY)["score"][0] for index in indexes]  # type: ignore[attr-defined]
        assert scores == [i + 1.0 for i in range(18)]


def test_what_is_missing_is_an_error_before_any_work(
    model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_java(needed: int) -> None:
        raise JavaNotFoundError(f"none of version {needed}")

    monkeypatch.setattr(jvm, "find_java", no_java)
    with pytest.raises(JavaNotFoundError, match="none of version 21"):
        model.indexer(tmp_path / "index", "anserini").index(iter([]))
    monkeypatch.setattr(jvm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'pyterrier_saesplade\[pyserini\]'"):
        model.indexer(tmp_path / "index", "anserini").index(iter([]))
    assert os.listdir(tmp_path) == []


def test_in_the_java_of_pyterrier(model: SaeSplade, tmp_path: Path) -> None:
    """Where that has Anserini's classes, it is used, Terrier beside it; where it has not, another process is."""
    build(model, tmp_path / "index", [([1], [1.26]), ([1], [2.0])])
    script = """
        import sys
        import pandas as pd
        import pyterrier as pt
        from pyterrier_saesplade.engines.lucene import jvm
        from pyterrier_saesplade.engines.lucene import get_lucene
        from pyterrier_saesplade.vectors import ConceptVectors
        path, shared, model = sys.argv[1:]
        if shared == "shared":
            pt.java.add_jar(str(jvm.anserini_jar()))
        pt.java.init()
        query = pd.DataFrame([{"qid": "q", "query_toks": {"c1": 1.0}}])
        run = pt.Artifact.load(path).retriever(weighting="none")(query)
        assert run["docno"].tolist() == ["d 1 𝄞", "d 0 𝄞"]
        assert run["score"].tolist() == [2.0, 1.3]
        documents = [{"docno": "t", "toks": {"c1": 3}}]
        terrier = pt.terrier.TerrierIndex(path + shared)
        terrier.toks_indexer().index(documents)
        assert terrier.tf()(query)["score"].tolist() == [3.0]
        print(type(get_lucene()).__name__)
    """
    for shared, name in (("shared", "Lucene"), ("separate", "LuceneProcess")):
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "index"), shared, model.source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-1] == name
