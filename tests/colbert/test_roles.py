"""A ColBERT model is a transformer that picks its role by the columns that arrive."""

import pickle

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.baselines import ColbertModel

pytestmark = pytest.mark.slow

RESULTS = pd.DataFrame(
    {
        "qid": ["1", "1"],
        "query": ["a young cat", "a young cat"],
        "docno": ["d1", "d2"],
        "text": ["Interest rates were raised.", "A kitten is a young cat."],
        "score": [0.0, 0.0],
        "rank": [0, 1],
    }
)


def test_queries_are_encoded(model: ColbertModel) -> None:
    queries = RESULTS[["qid", "query"]].head(1)
    encoded, expected = model(queries), model.query_encoder()(queries)
    np.testing.assert_array_equal(encoded["query_embs"][0], expected["query_embs"][0])
    assert encoded.attrs == expected.attrs != {}


def test_documents_are_encoded(model: ColbertModel) -> None:
    documents = RESULTS[["docno", "text"]].assign(text=["Interest rates were raised.", None])
    encoded = model(documents)
    assert encoded.columns.tolist() == ["docno", "text", "doc_embs"]
    assert [len(states) > 0 for states in encoded["doc_embs"]] == [True, False]


def test_results_are_scored(model: ColbertModel) -> None:
    scored = model(RESULTS)
    assert scored.sort_values("rank")["docno"].tolist() == ["d2", "d1"]
    pd.testing.assert_frame_equal(scored, model.scorer()(RESULTS))


def test_other_frames_are_refused(model: ColbertModel) -> None:
    with pytest.raises(pt.validate.InputValidationError):
        model(RESULTS[["qid", "docno"]])


def test_it_is_one_part_of_a_pipeline(model: ColbertModel) -> None:
    pipeline = model >> pt.RankCutoff(1)
    assert pipeline(RESULTS)["docno"].tolist() == ["d2"]
    assert model.subtransformers() == {}
    assert model.schematic["label"] == "ColBERT"
    assert pickle.loads(pickle.dumps(model)) == model
