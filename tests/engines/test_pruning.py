"""Indexes of pruned documents: postings, metadata, searches and statistics."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.engines import ConceptIndex
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.impacts import LatentStatistics, Pruning, Quantization, to_toks
from pyterrier_saesplade.pipeline import LatentWeighting, Prune
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

from .conftest import EVERY_ENGINE

DOCNOS = ["d1", "d2", "d3", "d4", "d5"]
#: max_ratio=0.5 prunes latent 9 of d1 and latent 5 of d5. Latent 1 is then in three of the five documents.
VECTORS = ConceptVectors.from_rows(
    [([1, 5, 9], [0.5, 0.25, 0.125]), ([1, 7], [1.0, 0.5]), ([], []), ([1], [1.0]), ([5, 7], [0.25, 2.0])]
)


@pytest.fixture(scope="module", params=EVERY_ENGINE)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pruned(engine: str, model: SaeSplade, tmp_path_factory: pytest.TempPathFactory) -> ConceptIndex:
    path = tmp_path_factory.mktemp("indexes") / "pruned"
    indexer = model.indexer(path, engine, pruning=Pruning(max_ratio=0.5), max_df=0.4)
    return indexer.index_vectors([(DOCNOS[:2], VECTORS.take([0, 1])), (DOCNOS[2:], VECTORS.take([2, 3, 4]))])


def query(**toks: float) -> pd.DataFrame:
    return pd.DataFrame([{"qid": "q", "query_toks": toks}])


def test_the_metadata_count_what_was_removed(pruned: ConceptIndex) -> None:
    index = pt.Artifact.load(str(pruned.path))
    assert index.metadata["pruning"] == {
        "documents": {"k": None, "max_ratio": 0.5, "mass": None, "threshold": None},
        "pruned_postings": 2,
        "max_df": 0.4,
        "dropped_latents": 1,
        "dropped_postings": 3,
    }
    assert (len(index), index.metadata["n_postings"]) == (5, 3)
    assert {latent: int(df) for latent, df in enumerate(index.statistics.df) if df} == {5: 1, 7: 2}
    assert index.statistics.dropped.tolist() == [1]
    np.testing.assert_allclose(index.statistics.idf()[[1, 5, 7, 9]], [0, np.log(4), np.log(2.4), np.log(12)], rtol=1e-6)


def test_searches_find_the_remaining_postings(pruned: ConceptIndex) -> None:
    plain, weighted = pruned.retriever(weighting="none"), pruned.retriever()
    run = plain(query(c1=1.0, c7=0.5))
    assert run["docno"].tolist() == ["d5", "d2"]
    assert run["score"].tolist() == [1.0, 0.25]
    assert weighted(query(c1=1.0, c7=0.5))["docno"].tolist() == ["d5", "d2"]
    assert plain(query(c5=1.0))["docno"].tolist() == ["d1"]
    for retriever in (plain, weighted):
        assert len(retriever(query(c1=1.0, c9=1.0))) == 0


def test_a_dropped_latent_counts_nowhere(model: SaeSplade, pruned: ConceptIndex) -> None:
    assert list(LatentWeighting(pruned)(query(c1=1.0, c7=0.5))["query_toks"][0]) == ["c7"]
    candidates = query(c1=1.0, c7=0.5).assign(docno="d2", toks=[{"c1": 1.0, "c7": 0.5}])
    score = model.scorer(statistics=pruned)(candidates)["score"][0]
    assert (
        score == pytest.approx(0.25 * np.log(2.4)) == pytest.approx(pruned.retriever()(query(c7=0.5))["score"][1], 0.02)
    )


def test_pruning_is_logged(model: SaeSplade, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pyterrier_saesplade")
    index = model.indexer(tmp_path / "whole", "exact").index_vectors([(DOCNOS, VECTORS)])
    assert index.metadata["pruning"] is None
    assert not caplog.messages
    model.indexer(tmp_path / "pruned", "exact", pruning=Pruning(k=1), max_df=0.5).index_vectors([(DOCNOS, VECTORS)])
    (logged,) = caplog.messages
    assert re.search(r"\b4 postings\b.*\b1 .*latents\b.*\b3 postings\b", logged)


def random_vectors(texts: int, latents: int) -> ConceptVectors:
    """Weights that often tie with 10 levels per unit; the smallest become zero."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(texts):
        drawn = np.unique(np.minimum(random.geometric(0.05, random.integers(0, 40)), latents) - 1)
        rows.append((drawn, random.exponential(0.5, len(drawn))))
    return ConceptVectors.from_rows(rows)


def test_the_run_is_that_of_vectors_pruned_by_hand(engine: str, model: SaeSplade, tmp_path: Path) -> None:
    docnos, vectors = [f"d{number}" for number in range(200)], random_vectors(200, 60)
    pruning, max_df = Pruning(k=8, mass=0.9), 0.25
    index = model.indexer(tmp_path / "pruned", engine, pruning=pruning, max_df=max_df).index_vectors(
        [(docnos, vectors)]
    )
    by_hand = pruning.prune(vectors)
    indexed = by_hand if index.quantization is None else Quantization().quantize(by_hand)
    df = np.bincount(indexed.latents, minlength=2048)
    by_hand = by_hand.where(df[by_hand.latents] <= max_df * 200)
    expected = model.indexer(tmp_path / "by hand", engine).index_vectors([(docnos, by_hand)])
    removed = index.metadata["pruning"]
    assert removed["pruned_postings"] == len(vectors.latents) - len(pruning.prune(vectors).latents) > 0
    assert removed["dropped_latents"] == (df > 50).sum() > 0
    assert removed["dropped_postings"] == len(indexed.latents) - index.metadata["n_postings"] > 0
    assert index.metadata["n_postings"] == expected.metadata["n_postings"]
    assert index.statistics.df.tolist() == expected.statistics.df.tolist()
    toks = to_toks(random_vectors(30, 60), model.terms)
    queries = pd.DataFrame({"qid": [str(i) for i in range(30)], "query_toks": toks})
    for weighting in ("none", "idf"):
        runs = [
            each.retriever(1000, weighting=weighting)(queries).sort_values(["qid", "score", "docno"], ignore_index=True)
            for each in (index, expected)
        ]
        columns = ["qid", "docno", "score"]
        pd.testing.assert_frame_equal(runs[0][columns], runs[1][columns])
        assert len(runs[0]) > 1000


def test_queries_are_pruned_by_a_stage(pruned: ConceptIndex) -> None:
    pipeline = Prune(max_ratio=0.5, column="query_toks") >> pruned.retriever(weighting="none")
    assert pipeline(query(c5=0.25, c7=1.0))["docno"].tolist() == ["d5", "d2"]


def test_texts_and_vectors_are_pruned_alike(model: SaeSplade, tmp_path: Path) -> None:
    documents = [{"docno": str(i), "text": "sparse retrieval with concepts " * i + "music"} for i in range(5)]
    options = {"engine": "exact", "pruning": Pruning(k=5), "max_df": 0.9}
    direct = model.indexer(tmp_path / "direct", **options).index(documents)
    vectors = model.encode([document["text"] for document in documents])
    again = model.indexer(tmp_path / "vectors", **options).index_vectors([([str(i) for i in range(5)], vectors)])
    assert direct.metadata == again.metadata
    assert direct.metadata["pruning"]["pruned_postings"] == len(vectors.latents) - 5 * 5
    assert direct.statistics.df.max() <= 4


@pytest.mark.parametrize("options", [{"pruning": Pruning(threshold=100.0)}, {"max_df": 0.1}])
def test_pruning_everything_is_an_error(options: dict[str, object], model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"empty.*\bprun"):
        model.indexer(tmp_path / "index", "exact", **options).index_vectors([(DOCNOS, VECTORS)])  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("max_df", [0, -0.5, 1.5, float("nan")])
def test_max_df_is_checked(max_df: float, model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"max_df .*{max_df}"):
        model.indexer(tmp_path / "index", max_df=max_df)


def test_max_df_is_exact() -> None:
    statistics = LatentStatistics(np.array([29, 30, 28]), 100)
    statistics.drop_frequent(0.29)  # 0.29 * 100 is less than 29 in floats
    assert statistics.dropped.tolist() == [1]
    assert statistics.df.tolist() == [29, 0, 28]


def test_statistics_of_an_earlier_version(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "statistics.npz", df=np.array([1, 0]), n_docs=np.int64(2))
    statistics = LatentStatistics.load(tmp_path / "statistics.npz")
    assert statistics.dropped.tolist() == []
    np.testing.assert_allclose(statistics.idf(), [np.log(2), np.log(6)], rtol=1e-6)
