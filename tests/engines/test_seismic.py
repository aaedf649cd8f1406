"""Seismic's limits: half precision for a weight, 16 bits for a latent in the classes for small vocabularies."""

from pathlib import Path

import pandas as pd
import pytest
from seismic import SeismicIndex, SeismicIndexLV

from pyterrier_saesplade.engines import ConceptIndexer
from pyterrier_saesplade.impacts import Quantization, Terms
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

WEIGHTS = [0.0, 0.4, 255.0, 256.0, 70_000.0, 65_504.0]


class Model:
    """A model of any width, with what an index needs."""

    fingerprint = "of no model"
    weighting = "none"

    def __init__(self, width: int) -> None:
        self.terms = Terms(width)


@pytest.mark.parametrize("quantization", [None, Quantization(1)])
def test_weights_beyond_half_precision_have_exact_scores(
    quantization: Quantization | None, model: SaeSplade, tmp_path: Path
) -> None:
    vectors = ConceptVectors.from_rows([([1], [weight]) for weight in WEIGHTS])
    with pytest.warns(UserWarning, match=rf"\b1 of {6 if quantization is None else 4} weights\b.*\b65504\b.*Seismic"):
        index = model.indexer(tmp_path / "index", "seismic", quantization=quantization).index_vectors(
            [(list("012345"), vectors)]
        )
    run = index.retriever(weighting="none")([{"qid": "q", "query_toks": {"c1": 1.0}}])
    found = [(row["docno"], round(row["score"], 6)) for row in run]
    exact = [("4", 70_000.0), ("5", 65_504.0), ("3", 256.0), ("2", 255.0), ("1", 0.4)]
    assert found == (exact if quantization is None else exact[:4])


def test_scores_are_not_in_half_precision(model: SaeSplade, tmp_path: Path) -> None:
    """The three weights are equal in half precision, so the candidates are in the order of indexing."""
    vectors = ConceptVectors.from_rows([([1], [1.0001]), ([1], [1.0003]), ([1], [1.0002])])
    index = model.indexer(tmp_path / "index", "seismic").index_vectors([(["a", "b", "c"], vectors)])
    run = index.retriever(weighting="none")(pd.DataFrame([{"qid": "q", "query_toks": {"c1": 1.0}}]))
    assert run["docno"].tolist() == ["b", "c", "a"]
    assert run["score"].astype("float32").tolist() == vectors.weights[[1, 2, 0]].tolist()


@pytest.mark.parametrize(("width", "kind"), [(2**16 - 1, SeismicIndex), (2**16, SeismicIndexLV)])
def test_the_class_for_the_width(width: int, kind: type, tmp_path: Path) -> None:
    vectors = ConceptVectors.from_rows([([0, width - 1], [1.0, 2.0]), ([width - 1], [1.0])])
    index = ConceptIndexer(Model(width), tmp_path / "index", "seismic").index_vectors([(["a", "b"], vectors)])
    assert type(index.seismic) is kind
    run = index.retriever()([{"qid": "q", "query_toks": {f"c{width - 1}": 1.0, "c0": 0.5}}])
    assert [(row["docno"], row["score"]) for row in run] == [("a", 2.5), ("b", 1.0)]


def test_latents_without_documents_do_not_count_towards_query_cut(model: SaeSplade, tmp_path: Path) -> None:
    vectors = ConceptVectors.from_rows([([1], [1.0])])
    index = model.indexer(tmp_path / "index", "seismic").index_vectors([(["a"], vectors)])
    toks = {f"c{latent}": 2.0 for latent in range(100, 200)} | {"c1": 1.0}
    assert [row["docno"] for row in index.retriever()([{"qid": "q", "query_toks": toks}])] == ["a"]
