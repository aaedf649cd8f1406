"""Lucene in a process of its own, or in the process of PyTerrier's Java."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

import pyterrier_saesplade
from pyterrier_saesplade.engines import AnseriniConceptIndex
from pyterrier_saesplade.engines.lucene import get_lucene, jvm
from pyterrier_saesplade.engines.lucene.process import LuceneProcess
from pyterrier_saesplade.errors import EngineError, JavaNotFoundError, MissingPackageError
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

QUERY = pd.DataFrame([{"qid": "q", "query_toks": {"c1": 1.0}}])


@pytest.fixture
def index_path(model: SaeSplade, tmp_path: Path) -> Path:
    """An index of two documents."""
    vectors = ConceptVectors.from_rows([([1], [1.26]), ([1], [2.0])])
    model.indexer(tmp_path / "index", "anserini").index_vectors([(["d 0 𝄞", "d 1 𝄞"], vectors)])
    return tmp_path / "index"


@pytest.mark.slow
def test_a_dead_process_is_started_again(index_path: Path) -> None:
    process = get_lucene()
    assert isinstance(process, LuceneProcess)
    before = process.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    retriever = AnseriniConceptIndex(index_path).retriever()
    assert retriever(QUERY)["docno"].tolist() == ["d 1 𝄞", "d 0 𝄞"]
    assert process.pid not in (None, before)


@pytest.mark.slow
def test_the_worker_belongs_to_the_package_that_started_it(tmp_path: Path) -> None:
    """The worker imports the same copy of the package, whatever else is installed."""
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


@pytest.mark.slow
def test_an_interrupted_build_does_not_disturb_the_next(tmp_path: Path) -> None:
    """The process has read half of a request. It is ended, and the next request starts a new one."""

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


@pytest.mark.slow
def test_errors_of_java(tmp_path: Path) -> None:
    """They are raised here, and the process keeps running."""
    process = LuceneProcess()
    with pytest.raises(EngineError, match="IndexNotFoundException"):
        process.search(tmp_path, [{"c1": 3}], 10)
    with pytest.raises(EngineError, match=r"Anserini.*NumberFormatException"):
        process.write(tmp_path, [[("d1", "c1\x01many"), ("d2", "")], [("d3", "")]])
    pid = process.pid
    assert process.write(tmp_path, [[("d1", "c1\x011")]]) == 1
    assert process.pid == pid
    process.close()


def test_a_missing_java_or_package_is_an_error_before_any_work(
    model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_java(needed: int) -> None:
        raise JavaNotFoundError(f"none of version {needed}")

    monkeypatch.setattr(jvm, "find_java", no_java)
    with pytest.raises(JavaNotFoundError, match="none of version 21"):  # the message of no_java
        model.indexer(tmp_path / "index", "anserini").index(iter([]))
    monkeypatch.setattr(jvm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'pyterrier_saesplade\[pyserini\]'"):
        model.indexer(tmp_path / "index", "anserini").index(iter([]))
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_java_of_pyterrier(model: SaeSplade, index_path: Path) -> None:
    """It is used if it has Anserini's classes, and Terrier still works. Otherwise another process is used."""
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
        command = [sys.executable, "-c", textwrap.dedent(script), str(index_path), shared, model.source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-1] == name
