"""Properties of both approximate engines, in addition to those of all engines."""

import errno
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyterrier_saesplade.engines import ENGINES, Spool
from pyterrier_saesplade.engines.forward import ForwardIndex
from pyterrier_saesplade.errors import EngineError, MissingPackageError, SettingError
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

both = pytest.mark.parametrize("engine", ["bmp", "seismic"])


def query(**toks: float) -> pd.DataFrame:
    return pd.DataFrame([{"qid": "q", "query_toks": toks}])


def random_vectors(number: int, latents: int, seed: int) -> ConceptVectors:
    """Vectors like those of texts: some latents are frequent, and weights have a long tail."""
    random = np.random.default_rng(seed)
    share = 1 / np.arange(1, 2049)
    chosen = [np.sort(random.choice(2048, latents, replace=False, p=share / share.sum())) for _ in range(number)]
    return ConceptVectors.from_rows((row, random.gamma(2.0, 0.4, latents) + 0.05) for row in chosen)


@both
@pytest.mark.slow
def test_found_documents_have_exact_scores(engine: str, model: SaeSplade, tmp_path: Path) -> None:
    docnos, documents = [f"d{i}" for i in range(1000)], random_vectors(1000, 30, seed=1)
    quantization = ENGINES[engine].default_quantization
    index, exact = (
        model.indexer(tmp_path / name, name, quantization=quantization).index_vectors(
            (docnos[start : start + 300], documents.take(range(1000)[start : start + 300]))
            for start in range(0, 1000, 300)
        )
        for name in (engine, "exact")
    )
    queries = random_vectors(40, 12, seed=2)
    if quantization is not None:
        queries = Quantization(100).quantize(queries)
    for depth in (1, 10, 100, 1000):
        found = shared = 0
        for hits, reference in zip(index.search(queries, depth), exact.search(queries, depth), strict=True):
            scores = dict(zip(hits.docnos, hits.scores.tolist(), strict=True))
            expected = dict(zip(reference.docnos, reference.scores.tolist(), strict=True))
            assert all(scores[docno] == expected[docno] for docno in scores.keys() & expected.keys())  # to the last bit
            assert (np.diff(hits.scores) <= 0).all()
            assert len(hits.docnos) == len(set(hits.docnos)) <= depth
            found += np.count_nonzero(hits.scores >= reference.scores[-1])  # ties with the last place are as good
            shared += len(expected)
        assert found >= 0.98 * shared


@both
def test_one_document(engine: str, model: SaeSplade, tmp_path: Path) -> None:
    vectors = ConceptVectors.from_rows([([3], [1.5])])
    index = model.indexer(tmp_path / "index", engine).index_vectors([(["only"], vectors)])
    for num_results in (1, 9, 10, 100, 1000):
        run = index.retriever(num_results, weighting="none")(query(c3=2.0))
        assert run[["docno", "score"]].to_numpy().tolist() == [["only", 3.0]]
    assert len(index.retriever()(query(c4=2.0))) == 0


@both
@pytest.mark.parametrize("number", [7, 8, 9, 150])
def test_a_latent_in_every_document(engine: str, number: int, model: SaeSplade, tmp_path: Path) -> None:
    docnos = [str(i) for i in range(number)]
    index = model.indexer(tmp_path / "index", engine).index_vectors(
        [(docnos, ConceptVectors.from_rows([([7], [1.0])] * number))]
    )
    for num_results in (9, 10, 99, 100, 1000):
        run = index.retriever(num_results, weighting="none")(query(c7=1.0))
        assert run["score"].tolist() == [1.0] * min(num_results, number)
        assert run["docno"].astype(int).is_monotonic_increasing  # all alike: in the order of indexing


@both
def test_a_query_of_two_thousand_latents(engine: str, model: SaeSplade, tmp_path: Path) -> None:
    """On documents of as many latents. BMP's scores have 16 bits and would overflow."""
    rows = [(np.arange(size), np.full(size, 20.0)) for size in (1, 10, 100, 500, 2000)]
    index = model.indexer(tmp_path / "index", engine).index_vectors(
        [(["1", "10", "100", "500", "2000"], ConceptVectors.from_rows(rows))]
    )
    run = index.retriever(weighting="none")(query(**{f"c{latent}": 1.0 for latent in range(2000)}))
    assert run["docno"].tolist() == ["2000", "500", "100", "10", "1"]
    assert run["score"].tolist() == [40_000.0, 10_000.0, 2000.0, 200.0, 20.0]


@both
def test_docnos_of_any_kind(engine: str, model: SaeSplade, tmp_path: Path) -> None:
    docnos = ["a b  c", "🦜 parrot 🦜", "-1", "naïve", "0"]
    vectors = ConceptVectors.from_rows([([5], [5.0 - i]) for i in range(5)])
    index = model.indexer(tmp_path / "index", engine).index_vectors([(docnos[:2], vectors.take([0, 1]))])
    assert index.retriever()(query(c5=1.0))["docno"].tolist() == docnos[:2]
    index = model.indexer(tmp_path / "all", engine).index_vectors([(docnos, vectors)])
    assert index.retriever()(query(c5=1.0))["docno"].tolist() == docnos


@both
def test_a_search_prints_and_writes_nothing(
    engine: str, model: SaeSplade, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}

    vectors = random_vectors(20, 5, seed=3)
    index = model.indexer(tmp_path / "index", engine).index_vectors([([str(i) for i in range(20)], vectors)])
    before = files()
    assert len(index.retriever()(query(c0=1.0, c1=1.0))) > 0
    assert files() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("bmp", {"alpha": 0.9, "beta": 0.5, "overfetch": 3.0}),
        ("seismic", {"query_cut": 5, "heap_factor": 0.7, "overfetch": 1.0}),
    ],
)
def test_search_options(engine: str, options: dict[str, float], model: SaeSplade, tmp_path: Path) -> None:
    vectors = random_vectors(20, 5, seed=3)
    default = model.indexer(tmp_path / "index", engine).index_vectors([([str(i) for i in range(20)], vectors)])
    index = ENGINES[engine](tmp_path / "index", **options)
    assert index.search_options == options
    assert index != default
    assert pickle.loads(pickle.dumps(index)) == index
    shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
    assert repr(index) == f"{type(index).__name__}({str(index.path)!r}, {shown})"
    assert len(index.retriever(5)(query(c0=1.0, c1=0.5))) == 5


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("bmp", {"alpha": 0.0}),
        ("bmp", {"beta": 1.5}),
        ("bmp", {"overfetch": 0.5}),
        ("seismic", {"overfetch": float("inf")}),
        ("seismic", {"heap_factor": 2.0}),
        ("seismic", {"query_cut": 0}),
    ],
)
def test_options_are_checked(engine: str, options: dict[str, float], tmp_path: Path) -> None:
    ((name, value),) = options.items()
    with pytest.raises(SettingError, match=f"{name} .*{value}"):
        ENGINES[engine](tmp_path, **options)


@pytest.mark.parametrize(("engine", "package"), [("bmp", "bmp"), ("seismic", "pyseismic-lsr")])
def test_a_missing_package_is_an_error_before_any_work(
    engine: str, package: str, model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(MissingPackageError, match=rf"\b{package}\b.*pip install 'pyterrier_saesplade\[{engine}\]'"):
        model.indexer(tmp_path / "index", engine).index(pytest.fail("a document was read") for _ in range(1))


@pytest.mark.parametrize(
    ("engine", "message"),
    [("bmp", "damaged"), ("seismic", "Failed to load index")],  # the latter is Seismic's own
)
def test_a_damaged_index_is_an_error(engine: str, message: str, model: SaeSplade, tmp_path: Path) -> None:
    vectors = random_vectors(20, 5, seed=3)
    index = model.indexer(tmp_path / "index", engine).index_vectors([([str(i) for i in range(20)], vectors)])
    for file in (tmp_path / "index" / engine).glob("index.*"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(EngineError, match=message):
        index.retriever()(query(c0=1.0, c1=1.0))


def test_a_full_disk(model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error before arrays are filled, which would kill the process. No index is left."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    vectors = random_vectors(20, 5, seed=3)
    with pytest.raises(OSError, match="No space left on device") as error:
        model.indexer(tmp_path / "index", "bmp").index_vectors([([str(i) for i in range(20)], vectors)])
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_scores_of_the_forward_index(tmp_path: Path) -> None:
    rows = [([1, 5], [0.5, 0.25]), ([], []), ([2], [3.0]), ([1, 2, 2047], [1.0, 2.0, 4.0])]
    with Spool(tmp_path / "spool.parquet", 2048, None) as spool:
        spool.append(["a", "b"], ConceptVectors.from_rows(rows[:2]))
        spool.append(["ç d", "🦜"], ConceptVectors.from_rows(rows[2:]))
    ForwardIndex.write(tmp_path, spool)
    documents = ForwardIndex(tmp_path, 2048)
    latents, weights = np.array([1, 2, 2047], np.int32), np.array([1.0, 10.0, 100.0], np.float32)
    positions = np.array([3, 1, 0, 2])
    assert documents.scores(latents, weights, positions).tolist() == [421.0, 0.0, 0.5, 30.0]
    assert documents.scores(latents, weights, positions[:0]).tolist() == []
    assert documents.docnos(positions) == ["🦜", "b", "a", "ç d"]
    hits = documents.best(latents, weights, positions, 10)
    assert (hits.docnos, hits.scores.tolist()) == (["🦜", "ç d", "a"], [421.0, 30.0, 0.5])
    assert documents.best(latents, weights, positions, 1).docnos == ["🦜"]
