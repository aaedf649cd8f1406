"""Properties of the engine anserini, in addition to those of all engines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyterrier_saesplade.engines import AnseriniConceptIndex, ConceptIndex
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

pytestmark = pytest.mark.slow

QUERY = pd.DataFrame([{"qid": "q", "query_toks": {"c1": 1.0}}])


def build(
    model: SaeSplade, path: Path, rows: list[tuple[list[int], list[float]]], overwrite: bool = False
) -> ConceptIndex:
    docnos = [f"d {i} 𝄞" for i in range(len(rows))]
    indexer = model.indexer(path, "anserini", overwrite=overwrite)
    return indexer.index_vectors([(docnos, ConceptVectors.from_rows(rows))])


@pytest.mark.parametrize("weights", [[0.04, 25.5, 25.6, 7000.0], [0.1, 0.2, 0.3, 0.4]])
def test_impacts_of_any_size(model: SaeSplade, tmp_path: Path, weights: list[float]) -> None:
    """Weights that round to 0 are dropped, and impacts above 255 are stored as they are."""
    rows = [([1, 2], [weight, 1.0]) for weight in weights]
    corpus = [([f"d{i}" for i in range(4)], ConceptVectors.from_rows(rows))]
    runs = [
        model.indexer(tmp_path / engine, engine, quantization=Quantization()).index_vectors(corpus).retriever()(QUERY)
        for engine in ("anserini", "exact")
    ]
    pd.testing.assert_frame_equal(*runs)


def test_equal_scores_are_in_the_order_of_indexing(model: SaeSplade, tmp_path: Path) -> None:
    """Also across chunks and Lucene's segments, and where ``num_results`` truncates the ranking."""
    docnos = [str(i) for i in np.random.default_rng(0).permutation(3000)]
    rows = ConceptVectors.from_rows([([1], [1.0])] * 3000)
    windows = [(docnos[i : i + 700], rows.take(range(len(docnos))[i : i + 700])) for i in range(0, 3000, 700)]
    index = model.indexer(tmp_path / "index", "anserini").index_vectors(windows)
    assert index.retriever(2500, weighting="none")(QUERY)["docno"].tolist() == docnos[:2500]


def test_an_index_that_was_replaced(model: SaeSplade, tmp_path: Path) -> None:
    for weight in (1.0, 2.0):
        build(model, tmp_path / "index", [([1], [weight])], overwrite=True)
        run = AnseriniConceptIndex(tmp_path / "index").retriever(weighting="none")(QUERY)
        assert run["score"].tolist() == [weight]


def test_many_open_indexes(model: SaeSplade, tmp_path: Path) -> None:
    """More indexes than the process keeps open."""
    indexes = [build(model, tmp_path / str(i), [([1], [i + 1.0])]) for i in range(18)]
    for _ in range(2):
        scores = [index.retriever(weighting="none")(QUERY)["score"][0] for index in indexes]
        assert scores == [i + 1.0 for i in range(18)]
