"""BMP's limits: 8 bits for an impact, 16 for a score and for the number of a term."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyterrier_saesplade.engines import BmpConceptIndex, Spool, bmp
from pyterrier_saesplade.engines.bmp import query_levels
from pyterrier_saesplade.engines.native import panics_as_errors
from pyterrier_saesplade.errors import EngineError
from pyterrier_saesplade.impacts import Quantization, Terms
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

QUERY = pd.DataFrame([{"qid": "q", "query_toks": {"c1": 1.0}}])
WEIGHTS = [0.0, 0.4, 255.0, 256.0, 70_000.0]
VECTORS = ConceptVectors.from_rows([([1], [weight]) for weight in WEIGHTS])


def test_impacts_above_255_are_clipped(model: SaeSplade, tmp_path: Path) -> None:
    quantization = Quantization(1, clip=255)
    with pytest.warns(UserWarning, match=r"\b2 of 5 impacts\b.*\b255\b"):
        index = model.indexer(tmp_path / "index", "bmp", quantization=quantization).index_vectors(
            [(list("01234"), VECTORS)]
        )
    run = index.retriever(weighting="none")(QUERY)
    assert run[["docno", "score"]].to_numpy().tolist() == [["2", 255.0], ["3", 255.0], ["4", 255.0]]


def test_impacts_above_255_without_a_clip_have_exact_scores(model: SaeSplade, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"\b2 of 3 impacts\b.*\b255\b.*BMP"):
        index = model.indexer(tmp_path / "index", "bmp", quantization=Quantization(1)).index_vectors(
            [(list("01234"), VECTORS)]
        )
    run = index.retriever(weighting="none")(QUERY)
    assert run[["docno", "score"]].to_numpy().tolist() == [["4", 70_000.0], ["3", 256.0], ["2", 255.0]]


def test_impacts_up_to_255_are_not_clipped(model: SaeSplade, tmp_path: Path) -> None:
    with warnings.catch_warnings(action="error"):
        index = model.indexer(tmp_path / "index", "bmp").index_vectors(
            [(["a"], ConceptVectors.from_rows([([1], [25.5])]))]
        )
    assert index.quantization == Quantization(10)
    assert index.retriever(weighting="none")(QUERY)["score"].tolist() == [25.5]


def test_larger_impacts_count_in_scores(model: SaeSplade, tmp_path: Path) -> None:
    """They are clipped when BMP finds candidates, and not when these are scored."""
    with pytest.warns(UserWarning, match=r"\b3 of 4 impacts\b.*\b255\b.*BMP"):
        index = model.indexer(tmp_path / "index", "bmp").index_vectors([(list("01234"), VECTORS)])
    run = index.retriever(weighting="none")(QUERY)
    assert run[["docno", "score"]].to_numpy().tolist() == [["4", 70000.0], ["3", 256.0], ["2", 255.0], ["1", 0.4]]


@pytest.mark.parametrize("number", [1, 5, 9, 16, 40, 99, 105, 300, 1100])
@pytest.mark.parametrize("impacts", [1, 3, 255])
def test_no_block_is_left_out(number: int, impacts: int, model: SaeSplade, tmp_path: Path) -> None:
    """If a query's weights are levels of BMP, the scores are exact. Few distinct impacts make many ties."""
    random = np.random.default_rng(number)
    documents = random.integers(1, impacts + 1, (number, 6)) * (random.random((number, 6)) < 0.5)
    documents[0] = 1
    vectors = ConceptVectors.from_rows((np.flatnonzero(row), row[row > 0]) for row in documents)
    docnos = [str(i) for i in range(number)]
    model.indexer(tmp_path / "index", "bmp", quantization=Quantization(1)).index_vectors([(docnos, vectors)])
    index = BmpConceptIndex(tmp_path / "index", overfetch=1)
    for levels in ([32], [32, 32], [32, 1], [1, 32, 7, 0, 16]):
        weights = np.zeros(6, np.int64)
        weights[: len(levels)] = levels
        query = ConceptVectors.from_rows([(np.flatnonzero(weights), weights[weights > 0])])
        scores = np.sort(documents @ weights)[::-1]
        for num_results in (1, 10, 11, 100, 1000):
            expected = scores[scores > 0][:num_results]
            assert index.search(query, num_results)[0].scores.tolist() == expected.tolist()


@pytest.mark.parametrize("n_latents", [1, 30, 257, 2000])
@pytest.mark.parametrize("impact", [1, 30, 255])
def test_no_score_exceeds_sixteen_bits(n_latents: int, impact: int) -> None:
    random = np.random.default_rng(n_latents)
    weights = random.integers(1, 1000, n_latents).astype(np.int32)
    levels = query_levels(weights, np.full(n_latents, impact), beta=1.0)
    assert (levels * impact).sum() < 2**16
    assert levels.max() <= 32
    kept = levels > 0
    assert kept.all() or (kept.sum() + 1) * impact > 2**15  # as many as fit into half of the range
    assert weights[~kept].max(initial=0) <= weights[kept].min()
    order = np.lexsort((levels, weights))
    assert (np.diff(levels[order]) >= 0).all()


def test_levels_of_a_query() -> None:
    weights, largest = np.array([320, 10, 1, 999, 160]), np.array([9, 9, 9, 0, 9])
    assert query_levels(weights, largest, beta=1.0).tolist() == [32, 1, 1, 0, 16]
    assert query_levels(weights, largest, beta=0.5).tolist() == [32, 0, 0, 0, 16]
    assert query_levels(weights, np.zeros(5, np.int64), beta=1.0).tolist() == [0] * 5
    assert query_levels(weights[:0], largest[:0], beta=1.0).tolist() == []


def test_more_latents_than_bmp_distinguishes(tmp_path: Path) -> None:
    def write(folder: Path, n_latents: int) -> None:
        latents = np.array_split(np.arange(n_latents), 66)
        vectors = ConceptVectors.from_rows((part, np.ones(len(part))) for part in latents)
        folder.mkdir()
        with Spool(folder / "spool.parquet", 2**17, Quantization()) as spool:
            spool.append([str(i) for i in range(66)], vectors)
        BmpConceptIndex.write(folder, spool, Terms(2**17))

    write(tmp_path / "most", 2**16 - 3)
    assert (tmp_path / "most" / "bmp" / "index.bmp").exists()
    with pytest.warns(UserWarning, match=r"\b1 .*of 65534 latents\b.*\b1 of 65534 postings\b.*BMP"):
        write(tmp_path / "more", 2**16 - 2)


def test_latents_that_were_left_out_count_in_scores(
    model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bmp, "_MOST_LATENTS", 2)
    documents = ConceptVectors.from_rows([([1, 2], [1.0, 1.0]), ([1, 3], [1.0, 5.0]), ([3], [1.0]), ([4], [1.0])])
    with pytest.warns(UserWarning, match=r"\b2 .*of 4 latents\b.*\b2 of 6 postings\b.*BMP"):
        index = model.indexer(tmp_path / "index", "bmp").index_vectors([(["a", "b", "c", "d"], documents)])
    query = pd.DataFrame([{"qid": "1", "query_toks": {"c1": 1.0, "c2": 9.0, "c4": 1.0}}])
    run = index.retriever(weighting="none")(query)
    assert list(zip(run["docno"], run["score"], strict=True)) == [("a", 10.0), ("b", 1.0)]


def test_a_panic_is_an_error(model: SaeSplade, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "bmp").index_vectors([(["a"], ConceptVectors.from_rows([([1], [1.0])]))])
    with (
        pytest.raises(EngineError, match=r"\bunwrap\b.*try again"),
        panics_as_errors("try again"),
    ):
        index.bmp.search({}, k=10, alpha=1.0, beta=1.0)
    with pytest.raises(KeyboardInterrupt), panics_as_errors("try again"):
        raise KeyboardInterrupt
