"""The roles of a ColBERT model as a transformer, with a network that needs no PyLate."""

import pickle
from typing import Any

import pandas as pd
import pyterrier as pt
import pytest
import torch

from pyterrier_saesplade.baselines import ColbertModel

RESULTS = pd.DataFrame(
    {
        "qid": ["1", "1"],
        "query": ["cat", "cat"],
        "docno": ["d1", "d2"],
        "text": ["dogs", "a cat"],
        "score": [0.0, 0.0],
        "rank": [0, 1],
    }
)


class Network:
    """Encodes each letter as a token: one of 26 directions."""

    def encode(self, texts: list[str], **settings: Any) -> list[torch.Tensor]:
        letters = [[ord(letter) - ord("a") for letter in text if letter.isalpha()] for text in texts]
        return [torch.eye(26)[torch.tensor(numbers)] for numbers in letters]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ColbertModel:
    monkeypatch.setattr("pyterrier_saesplade.baselines.colbert.require_pylate", lambda: None)
    model = ColbertModel("checkpoint", device="cpu")
    model.__dict__ |= {"network": Network(), "_fingerprint": "0123456789abcdef"}
    return model


def test_queries_are_encoded(model: ColbertModel) -> None:
    queries = RESULTS[["qid", "query"]]
    encoded = model(queries)
    assert [states.shape for states in encoded["query_embs"]] == [(3, 26), (3, 26)]
    assert encoded.attrs == model.query_encoder()(queries).attrs != {}


def test_documents_are_encoded(model: ColbertModel) -> None:
    documents = RESULTS[["docno", "text"]]
    encoded = model(documents.assign(text=["dogs", None]))
    assert encoded.columns.tolist() == ["docno", "text", "doc_embs"]
    assert [states.shape for states in encoded["doc_embs"]] == [(4, 26), (0, 0)]


def test_results_are_scored(model: ColbertModel) -> None:
    scored = model(RESULTS)
    assert scored.set_index("docno")["score"].to_dict() == {"d1": 0.0, "d2": 3.0}
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
