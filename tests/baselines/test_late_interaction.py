"""Late interaction over the hidden states of an encoder: compared with a naive loop, and as a stage."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pyterrier_saesplade.baselines import LateInteraction
from pyterrier_saesplade.baselines.late_interaction import BackboneStates
from pyterrier_saesplade.baselines.maxsim import max_sim
from pyterrier_saesplade.collections import open_collection
from pyterrier_saesplade.errors import SettingError

DOCUMENTS = [
    "Sparse retrieval with an inverted index of word pieces.",
    "The cat sat on the mat.",
    "Boundary layers over a flat plate in supersonic flow, and how heat is transferred there.",
    "Ranking documents for a query is what search engines do; an index makes it fast.",
    "",
    None,
]
QUERIES = {"1": "how do search engines rank", "2": "heat transfer", "3": None}


@pytest.fixture
def reranker(minilm_path: Path) -> LateInteraction:
    return LateInteraction(str(minilm_path), doc_max_length=64)


@pytest.fixture
def pairs() -> pd.DataFrame:
    """Every query with every document; one text occurs twice."""
    rows = [
        {"qid": qid, "query": query, "docno": f"d{number}", "text": text}
        for qid, query in QUERIES.items()
        for number, text in enumerate([*DOCUMENTS, DOCUMENTS[1]])
    ]
    return pd.DataFrame(rows)


def naive_score(folder: Path, query: str, document: str) -> float:
    """One pair at a time, one token at a time."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    states = []
    for text, length in ((query, 32), (document, 64)):
        encoded = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            states.append(network(**encoded).last_hidden_state[0])
    cosine = torch.nn.CosineSimilarity(dim=0)
    return sum(max(float(cosine(mine, other)) for other in states[1]) for mine in states[0])


def test_scores_are_those_of_a_naive_loop(reranker: LateInteraction, minilm_path: Path) -> None:
    frame = pd.DataFrame(
        [
            {"qid": qid, "query": QUERIES[qid], "docno": f"d{number}", "text": DOCUMENTS[number]}
            for qid, number in (("1", 0), ("1", 3), ("2", 2), ("2", 1))
        ]
    )
    scores = reranker(frame).set_index(["qid", "docno"])["score"]
    for row in frame.itertuples():
        expected = naive_score(minilm_path, row.query, row.text)
        assert scores[row.qid, row.docno] == pytest.approx(expected, abs=1e-5)


def test_max_sim_of_random_states() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = [torch.randn(tokens, 8, generator=generator) for tokens in (3, 1, 5)]
    document = torch.randn(7, 8, generator=generator)
    expected = [sum(max(float(mine @ other) for other in document) for mine in query) for query in queries]
    np.testing.assert_allclose(max_sim(queries, document), expected, atol=1e-5)


def test_the_batch_does_not_change_scores(minilm_path: Path, pairs: pd.DataFrame) -> None:
    whole, single = (LateInteraction(str(minilm_path), batch_size=size)(pairs) for size in (1024, 1))
    shuffled = LateInteraction(str(minilm_path))(pairs.sample(frac=1, random_state=0))
    for other in (single, shuffled):
        joined = whole.merge(other, on=["qid", "docno"])
        assert len(joined) == len(pairs)
        np.testing.assert_allclose(joined["score_x"], joined["score_y"], atol=1e-5)


def test_missing_texts_score_0(reranker: LateInteraction, pairs: pd.DataFrame) -> None:
    out = reranker(pairs)
    empty = out["docno"].isin(["d4", "d5"]) | (out["qid"] == "3")
    assert (out.loc[empty, "score"] == 0).all()
    assert (out.loc[~empty, "score"] > 0).all()
    assert out[out["qid"] == "2"].sort_values("rank")["docno"].iloc[0] == "d2"
    nothing = pd.DataFrame({"qid": ["1"], "query": [""], "docno": ["d"], "text": [float("nan")]})
    assert reranker(nothing)["score"].tolist() == [0.0]


def test_each_distinct_text_is_encoded_once(
    reranker: LateInteraction, pairs: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str | None] = []
    states = BackboneStates.states

    def recording(self: BackboneStates, texts: list[str | None], side: str) -> object:
        encoded.extend(texts)
        return states(self, texts, side)

    monkeypatch.setattr(BackboneStates, "states", recording)
    reranker(pairs)
    assert sorted(map(str, encoded)) == sorted([QUERIES["1"], QUERIES["2"], *DOCUMENTS[:4]])


def test_the_contract_of_pyterrier(reranker: LateInteraction, check_contract: Callable[[pt.Transformer], None]) -> None:
    check_contract(reranker)


def test_an_empty_frame_loads_no_model() -> None:
    stage = LateInteraction("no-such-model", text_field="body")
    out = stage(pd.DataFrame(columns=["qid", "query", "docno", "body"]))
    assert list(out.columns) == ["qid", "query", "docno", "body", "score", "rank"]
    with pytest.raises(pt.validate.InputValidationError):
        stage(pd.DataFrame({"other": ["x"]}))


def test_equality_hash_pickling_and_display(reranker: LateInteraction, minilm_path: Path, pairs: pd.DataFrame) -> None:
    before = pairs.copy(deep=True)
    scores = reranker(pairs)["score"]
    pd.testing.assert_frame_equal(pairs, before)
    pickled = pickle.dumps(reranker)
    assert len(pickled) < 10_000
    copy = pickle.loads(pickled)
    assert copy == reranker
    assert hash(copy) == hash(reranker)
    assert repr(copy) == repr(reranker) == f"LateInteraction(backbone={str(minilm_path)!r}, doc_max_length=64)"
    assert copy != LateInteraction(str(minilm_path))
    np.testing.assert_allclose(copy(pairs)["score"], scores)
    schematic = pt.schematic.transformer_schematic(reranker)
    assert schematic["help_url"].endswith("/pyterrier-saesplade/api.html#pyterrier_saesplade.LateInteraction")
    assert not schematic.get("inner_pipelines")


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"doc_max_length": 0}, r"doc_max_length .*\b0\b"),
        ({"query_max_length": -1}, r"query_max_length .*-1\b"),
        ({"batch_size": 0}, r"batch_size .*\b0\b"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_invalid_settings(settings: dict[str, object], fact: str) -> None:
    with pytest.raises(SettingError, match=fact):
        LateInteraction("model", **settings)


def test_a_length_beyond_the_encoder(minilm_path: Path, pairs: pd.DataFrame) -> None:
    with pytest.raises(SettingError, match=r"max_length .*\b1000\b.*\b512\b"):
        LateInteraction(str(minilm_path), doc_max_length=1000)(pairs)


@pytest.mark.slow
def test_it_finds_the_docstring_of_a_line(docstrings_path: Path, minilm_path: Path) -> None:
    """Of the documents of 20 queries, the right one is first far more often than by chance."""
    collection = open_collection(docstrings_path)
    qrels = collection.qrels().head(20)
    texts = {document["docno"]: document["text"] for document in collection.get_corpus_iter()}
    queries = dict(zip(collection.topics()["qid"], collection.topics()["query"], strict=True))
    rows = [
        {"qid": qid, "query": queries[qid], "docno": docno, "text": texts[docno]}
        for qid in qrels["qid"]
        for docno in qrels["docno"]
    ]
    out = LateInteraction(str(minilm_path), doc_max_length=64)(pd.DataFrame(rows))
    first = out[out["rank"] == 0].merge(qrels, on=["qid", "docno"])
    assert len(first) >= 15
