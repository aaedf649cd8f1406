"""ColBERT through PyLate: what it encodes, and how it re-ranks."""

import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from pylate import rank

from pyterrier_saesplade.baselines import ColbertModel, ColbertQueryEncoder, ColbertScorer
from pyterrier_saesplade.errors import MissingPackageError, PathNotFoundError, SettingError

pytestmark = pytest.mark.slow

QUERIES = {"1": "how do search engines rank documents", "2": "heat transfer in supersonic flow"}
DOCUMENTS = {
    "d1": "Sparse retrieval with an inverted index of word pieces.",
    "d2": "Boundary layers over a flat plate, and how heat is transferred there.",
    "d3": "Ranking documents for a query is what search engines do; an index makes it fast.",
}


@pytest.fixture
def pairs() -> pd.DataFrame:
    rows = [
        {"qid": qid, "query": query, "docno": docno, "text": text}
        for qid, query in QUERIES.items()
        for docno, text in DOCUMENTS.items()
    ]
    return pd.DataFrame(rows)


def test_re_ranking_is_that_of_pylate(model: ColbertModel, pairs: pd.DataFrame) -> None:
    network = model.network
    documents = network.encode(list(DOCUMENTS.values()), is_query=False)
    expected = rank.rerank(
        documents_ids=[list(DOCUMENTS)] * len(QUERIES),
        queries_embeddings=network.encode(list(QUERIES.values()), is_query=True),
        documents_embeddings=[documents] * len(QUERIES),
    )
    out = model.scorer()(pairs).sort_values(["qid", "rank"])
    for qid, results in zip(QUERIES, expected, strict=True):
        mine = out[out["qid"] == qid]
        assert mine["docno"].tolist() == [result["id"] for result in results]
        np.testing.assert_allclose(mine["score"], [result["score"] for result in results], atol=1e-4)


def test_the_batch_does_not_change_scores(model: ColbertModel, pairs: pd.DataFrame) -> None:
    whole, single = (model.scorer(batch_size=size)(pairs) for size in (1024, 1))
    np.testing.assert_allclose(whole["score"], single["score"], atol=1e-4)


def test_texts_that_are_missing(model: ColbertModel) -> None:
    frame = pd.DataFrame(
        {"qid": ["1", "2", "3"], "query": ["a query", None, " "], "docno": "d", "text": ["", "a", "b"]}
    )
    assert model.scorer()(frame)["score"].tolist() == [0.0, 0.0, 0.0]
    embs = model.query_encoder()(frame)["query_embs"]
    assert [states.shape for states in embs] == [(24, 128), (0, 0), (0, 0)]


def test_the_contract_of_pyterrier(model: ColbertModel, check_contract: Callable[[pt.Transformer], None]) -> None:
    check_contract(model.scorer())
    check_contract(model.query_encoder())


def test_empty_frames_load_no_model() -> None:
    model = ColbertModel("no-such-model")
    out = model.scorer()(pd.DataFrame(columns=["qid", "query", "docno", "text"]))
    assert list(out.columns) == ["qid", "query", "docno", "text", "score", "rank"]
    assert list(model.query_encoder()(pd.DataFrame(columns=["qid", "query"])).columns) == ["qid", "query", "query_embs"]


def test_equality_hash_and_pickling(model: ColbertModel, checkpoint: Path) -> None:
    model.states(["loaded"], "doc")
    pickled = pickle.dumps(model)
    assert len(pickled) < 1000
    assert pickle.loads(pickled) == model == ColbertModel(checkpoint, device="cpu", verbose=True)
    assert hash(pickle.loads(pickled)) == hash(model)
    assert model != ColbertModel(checkpoint, doc_max_length=32, device="cpu")
    assert repr(ColbertModel("m", doc_max_length=32)) == "ColbertModel('m', doc_max_length=32)"
    for stage in (ColbertScorer(model), ColbertQueryEncoder(model)):
        copy = pickle.loads(pickle.dumps(stage))
        assert copy == stage
        assert hash(copy) == hash(stage)
        schematic = pt.schematic.transformer_schematic(stage)
        name = type(stage).__name__
        assert schematic["help_url"].endswith(f"/pyterrier-saesplade/api.html#pyterrier_saesplade.{name}")


def test_the_fingerprint_depends_on_the_settings_of_documents_alone(model: ColbertModel, checkpoint: Path) -> None:
    assert ColbertModel(checkpoint, query_max_length=8).fingerprint == model.fingerprint
    assert ColbertModel(checkpoint, doc_max_length=8).fingerprint != model.fingerprint
    states = next(iter(ColbertModel(checkpoint, doc_max_length=8).states(["word " * 50], "doc")))[1]
    assert len(states) == 8


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"doc_max_length .*\b0\b"):
        ColbertModel("m", doc_max_length=0)
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "nothing")):
        list(ColbertModel(tmp_path / "nothing").states(["a text"], "doc"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'pyterrier_saesplade\[colbert\]'"):
        ColbertModel("m")
