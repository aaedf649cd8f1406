"""Concept feedback: PyTerrier's contract, the arithmetic, and its effect on results."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.pipeline import ConceptFeedback
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

RESULTS = pd.DataFrame(
    {
        "qid": ["q1", "q1", "q1", "q2"],
        "query": ["a", "a", "a", "b"],
        "docno": ["d2", "d1", "d3", "d1"],
        "rank": [1, 0, 2, 0],
        "query_toks": [{"c1": 2.0}] * 3 + [{}],
        "toks": [{"c1": 10, "c2": 30}, {"c2": 10}, {"c9": 99}, {"c2": 10}],
    }
)


def test_the_contract_of_pyterrier(model: SaeSplade, check_contract: Callable[[pt.Transformer], None]) -> None:
    check_contract(model.feedback())


def test_an_empty_frame_loads_no_model(unloadable: SaeSplade) -> None:
    out = unloadable.feedback()(pd.DataFrame(columns=["qid", "query", "docno", "rank", "text"]))
    assert out.columns.tolist() == ["qid", "query", "query_toks"]
    assert out.empty


def test_equality_hash_and_pickling(model: SaeSplade) -> None:
    stage = model.feedback(5, beta=0.5)
    copy = pickle.loads(pickle.dumps(stage))
    assert copy == stage
    assert hash(copy) == hash(stage)
    assert stage != model.feedback(5)
    assert repr(stage).endswith(", documents=5, beta=0.5)")


def test_the_mean_of_the_first_documents_is_scaled_to_the_length_of_the_query_and_added(model: SaeSplade) -> None:
    # q1: the first two are {c2: 1} and {c1: 1, c2: 3} at 10 levels a unit; their mean {c1: .5, c2: 2}
    out = ConceptFeedback(model, 2, beta=0.5)(RESULTS).set_index("qid")
    length = np.hypot(0.5, 2)
    expected = {"c1": 2 + 0.5 * 2 * 0.5 / length, "c2": 0.5 * 2 * 2 / length}
    assert out.loc["q1", "query_toks"] == pytest.approx(expected, rel=1e-6)
    assert out.loc["q2", "query_toks"] == {}  # a share of nothing
    one = ConceptFeedback(model, 2, beta=0.5, concepts=1)(RESULTS).set_index("qid")
    assert one.loc["q1", "query_toks"] == pytest.approx({"c1": 2.0, "c2": 1.0})


def test_beta_of_0_leaves_the_queries(model: SaeSplade) -> None:
    out = ConceptFeedback(model, beta=0)(RESULTS)
    assert out["query_toks"].tolist() == [{"c1": 2.0}, {}]


def test_idf_selects_the_concepts(model: SaeSplade, tmp_path: Path) -> None:
    # c2 is in all documents but one, c3 in one: the larger idf of c3 outweighs its smaller weight.
    vectors = ConceptVectors.from_rows([([2, 3], [1.0, 0.9])] + [([2], [1.0])] * 30 + [([1], [1.0])])
    index = model.indexer(tmp_path / "index", "exact").index_vectors([([f"d{i}" for i in range(32)], vectors)])
    results = RESULTS.head(1).assign(toks=[{"c2": 1.0, "c3": 0.9}])
    for statistics, taken in ((None, "c2"), (index, "c3")):
        out = model.feedback(1, concepts=1, statistics=statistics)(results)
        assert set(out["query_toks"][0]) == {"c1", taken}


def test_texts_are_encoded_where_there_are_no_vectors(model: SaeSplade, tmp_path: Path) -> None:
    documents = [{"docno": "1", "text": "concepts in retrieval"}, {"docno": "2", "text": "music of the spheres"}]
    index = model.indexer(tmp_path / "index", "exact").index(documents)
    texts = pt.apply.by_query(
        lambda rows: rows.assign(text=rows["docno"].map({d["docno"]: d["text"] for d in documents}))
    )
    pipeline = model.retriever(index) >> texts >> model.feedback(statistics=index) >> index.retriever()
    found = pipeline.search("music")
    plain = model.retriever(index).search("music")
    assert found["docno"][0] == plain["docno"][0] == "2"
    assert found["score"][0] > plain["score"][0]


@pytest.mark.parametrize("settings", [{"documents": 0}, {"concepts": 0}, {"beta": -1.0}, {"beta": float("nan")}])
def test_numbers_out_of_range_are_refused(model: SaeSplade, settings: dict[str, float]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(SettingError, match=f"{name} .*{value}"):
        ConceptFeedback(model, **settings)
