"""What each stage computes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.errors import AlreadyQuantizedError, DataError, ModelMismatchError, SettingError
from pyterrier_saesplade.impacts import LatentStatistics, Quantization
from pyterrier_saesplade.pipeline import LatentWeighting, Prune, Quantizer
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

TEXTS = [
    "sparse retrieval with concepts",
    "",
    None,
    "naïve café — ☃ 東京",
    float("nan"),
    "sparse retrieval with concepts",
]


def toks_of(vectors: ConceptVectors, row: int) -> dict[str, float]:
    latents, weights = vectors.row(row)
    return {f"c{latent}": weight for latent, weight in zip(latents.tolist(), weights.tolist(), strict=True)}


def test_documents_are_integers_at_the_default_scale_or_floats(model: SaeSplade) -> None:
    frame = pd.DataFrame({"docno": list("abcdef"), "text": TEXTS}).set_axis([5, 4, 3, 2, 1, 0])
    floats = model.doc_encoder(scale=None)(frame)
    vectors = model.encode([TEXTS[0], TEXTS[3]], "doc")
    assert floats["docno"].tolist() == list("abcdef")
    assert floats["toks"].tolist()[1:3] == [{}, {}]
    assert floats["toks"].tolist()[4] == {}
    for row, number in ((0, 0), (3, 1), (5, 0)):
        expected = toks_of(vectors, number)
        assert list(floats["toks"].iloc[row]) == list(expected)
        np.testing.assert_allclose(list(floats["toks"].iloc[row].values()), list(expected.values()), atol=1e-4)
    integers = model.doc_encoder()(frame)
    assert integers["toks"].tolist() == (model.doc_encoder(scale=None) >> Quantizer(10))(frame)["toks"].tolist()
    assert all(type(weight) is int for toks in integers["toks"] for weight in toks.values())
    assert sum(len(toks) for toks in integers["toks"]) > 0


def test_the_batch_size_does_not_change_the_result(model: SaeSplade) -> None:
    texts = [f"text number {i} about {'retrieval ' * (i % 5)}" for i in range(25)]
    frame = pd.DataFrame({"docno": [str(i) for i in range(25)], "text": texts})
    whole, windows = (model.doc_encoder(scale=None, batch_size=size)(frame)["toks"] for size in (1024, 4))
    for one, other in zip(whole, windows, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_queries_are_floats_and_encoded_once(model: SaeSplade, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str | None]] = []
    encode = SaeSplade.encode

    def recording(self: SaeSplade, texts: list[str | None], side: str = "doc", **options: object) -> ConceptVectors:
        calls.append(list(texts))
        return encode(self, texts, side, **options)

    monkeypatch.setattr(SaeSplade, "encode", recording)
    results = pd.DataFrame(
        {"qid": list("aab"), "query": ["one", "one", None], "docno": list("xyz"), "score": [3.0, 2.0, 1.0]}
    )
    out = model.query_encoder()(results)
    assert calls == [["one", None]]
    assert out["query_toks"][0] == out["query_toks"][1] == toks_of(encode(model, ["one"], "query"), 0)
    assert out["query_toks"][2] == {}
    assert out["score"].tolist() == [3.0, 2.0, 1.0]
    integers = model.query_encoder(scale=100)(results)["query_toks"][0]
    assert integers == Quantization(100).quantize_toks(out["query_toks"][0])


def test_queries_and_documents_differ_in_length_and_k_is_an_option(model: SaeSplade) -> None:
    long = " ".join(f"word{i}" for i in range(200))
    one = SaeSplade.from_pretrained(model.source, precision="float32", query_max_length=4, doc_max_length=8)
    query = one.query_encoder()([{"qid": "1", "query": long}])[0]["query_toks"]
    document = one.doc_encoder(scale=None)([{"docno": "1", "text": long}])[0]["toks"]
    assert len(query) <= 4 * 8 < len(document) <= 8 * 8
    single = one.query_encoder(k=1)([{"qid": "1", "query": long}])[0]["query_toks"]
    assert 1 <= len(single) <= 4
    assert set(single) <= set(query)


def test_a_rank_cutoff_moves_before_the_encoding(model: SaeSplade) -> None:
    assert (model.doc_encoder() % 2).compile() == (pt.RankCutoff(2) >> model.doc_encoder()).compile()


def test_an_indexing_pipeline_hands_over_batch_size_documents(model: SaeSplade) -> None:
    assert model.doc_encoder(batch_size=256).batch_size == 256


@pytest.mark.parametrize("stage", ["doc_encoder", "query_encoder", "scorer"])
def test_settings_are_checked(stage: str, model: SaeSplade) -> None:
    with pytest.raises(SettingError, match=r"batch_size .*\b0\b"):
        getattr(model, stage)(batch_size=0)


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan")])
def test_the_scale_of_toks_is_checked(scale: float, model: SaeSplade) -> None:
    with pytest.raises(SettingError, match=f"toks_scale .*{scale}"):
        model.scorer(toks_scale=scale)


def test_progress_is_shown_on_request(model: SaeSplade, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"qid": ["1"], "query": ["a query"]})
    model.query_encoder()(frame)
    assert capsys.readouterr().err == ""
    model.query_encoder(verbose=True)(frame)
    assert re.search(r"quer.*100%", capsys.readouterr().err)
    loud = SaeSplade.from_pretrained(model.source, precision="float32", verbose=True)
    candidate = frame.assign(docno="d", text="a text")
    for quiet in (loud.query_encoder, loud.doc_encoder, loud.scorer):
        quiet(verbose=False)(candidate)
    assert capsys.readouterr().err == ""


def test_the_quantizer(model: SaeSplade) -> None:
    frame = pd.DataFrame({"docno": ["1", "2"], "toks": [{"c1": 0.04, "c2": 0.05, "c3": 1.26}, {}]})
    assert Quantizer(10)(frame)["toks"].tolist() == [{"c2": 1, "c3": 13}, {}]
    with pytest.warns(UserWarning, match=r"\b1 of 3\b.*\b12\b"):
        assert Quantizer(10, clip=12)(frame)["toks"].tolist() == [{"c2": 1, "c3": 12}, {}]
    with pytest.raises(AlreadyQuantizedError):
        (Quantizer(10) >> Quantizer(10))(frame)
    with pytest.raises(SettingError, match=r"column .*'toks'.*'query_toks'.*'text'"):
        Quantizer(column="text")
    with pytest.raises(SettingError, match=r"scale .*\b0\b"):
        Quantizer(0)


def test_pruning_keeps_the_largest_in_their_order() -> None:
    toks = [{"c1": 0.5, "c2": 0.2, "c3": 1.5, "c4": 0.5}, {}, {"c9": 0.1}]
    frame = pd.DataFrame({"qid": ["1", "2", "3"], "query_toks": toks})
    assert Prune(2, column="query_toks")(frame)["query_toks"].tolist() == [{"c1": 0.5, "c3": 1.5}, {}, {"c9": 0.1}]
    assert frame["query_toks"].tolist() == toks
    with pytest.raises(SettingError, match=r"\bk\b.*\b0\b"):
        Prune(0)
    with pytest.raises(SettingError, match=r"\bk, max_ratio, mass or threshold"):
        Prune()


@pytest.mark.parametrize("rule", [{"max_ratio": 0.5}, {"mass": 0.75}, {"threshold": 0.6}, {"k": 4, "threshold": 0.75}])
def test_other_rules_of_pruning(rule: dict[str, float]) -> None:
    frame = pd.DataFrame({"docno": ["1", "2"], "toks": [{"c1": 2.0, "c2": 0.5, "c3": 1.0, "c4": 0.5}, None]})
    assert Prune(**rule)(frame)["toks"].tolist() == [{"c1": 2.0, "c3": 1.0}, {}]  # type: ignore[arg-type]


def test_pruning_reports_what_it_removed(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"docno": ["1", "2"], "toks": [{"c1": 2.0, "c2": 0.5, "c3": 1.0}, {"c1": 0.5}]})
    quiet, loud = Prune(1), Prune(1, verbose=True)
    assert quiet == loud
    quiet(frame)
    assert capsys.readouterr().err == ""
    loud(frame)
    report = capsys.readouterr().err
    assert "100%" in report
    assert re.search(r"\b2 of 4\b", report)


@pytest.mark.slow
def test_latent_weighting_and_the_index_agree(model: SaeSplade, tmp_path: Path) -> None:
    vectors = ConceptVectors.from_rows([([1, 5], [0.3, 0.5]), ([1], [1.25])])
    index = model.indexer(tmp_path / "index").index_vectors([(["d1", "d2"], vectors)])
    queries = pd.DataFrame({"qid": ["1", "2"], "query_toks": [{"c1": 2.0, "c5": 0.5, "other": 1.0}, {}]})
    weighted = LatentWeighting(index)(queries)["query_toks"].tolist()
    assert weighted == [pytest.approx({"c1": 2.0 * np.log(3 / 2.5), "c5": 0.5 * np.log(3 / 1.5)}), {}]
    staged = LatentWeighting(index) >> index.retriever(weighting="none")
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(staged(queries)[columns], index.retriever()(queries)[columns])
    plain = LatentWeighting(index) >> Quantizer(100, column="query_toks") >> index.terrier.tf()
    assert plain(queries)["docno"].tolist() == index.retriever()(queries)["docno"].tolist()
    with pytest.raises(AlreadyQuantizedError):
        LatentWeighting(index)(pd.DataFrame({"qid": ["1"], "query_toks": [{"c1": 2}]}))


DOCUMENTS = {"a": "sparse retrieval", "b": "dense retrieval with vectors", "c": "cooking pasta", "d": None}


@pytest.fixture
def candidates() -> pd.DataFrame:
    pairs = [("1", "retrieval with vectors"), ("2", "pasta for dinner")]
    return pd.DataFrame(
        [
            {"qid": qid, "query": query, "docno": docno, "text": text, "score": 0.0, "rank": 0}
            for qid, query in pairs
            for docno, text in DOCUMENTS.items()
        ]
    )


def test_the_scorer_gives_dot_products(model: SaeSplade, candidates: pd.DataFrame) -> None:
    queries = model.encode(["retrieval with vectors", "pasta for dinner"], "query").to_csr(2048).toarray()
    documents = model.encode(list(DOCUMENTS.values()), "doc").to_csr(2048).toarray()
    expected = dict(zip(DOCUMENTS, (queries @ documents.T).T.tolist(), strict=True))
    out = model.scorer()(candidates)
    assert len(out) == 8
    for row in out.itertuples():
        assert row.score == pytest.approx(expected[row.docno][int(row.qid) - 1], abs=1e-3)
    assert (
        out.sort_values(["qid", "rank"])["score"].groupby(out["qid"]).apply(lambda s: s.is_monotonic_decreasing).all()
    )
    assert sorted(out[out["qid"] == "1"]["rank"]) == [0, 1, 2, 3]
    assert out[out["docno"] == "d"]["score"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("query_toks", [False, True])
@pytest.mark.parametrize("toks", [False, True])
def test_the_scorer_takes_any_mix(query_toks: bool, toks: bool, model: SaeSplade, candidates: pd.DataFrame) -> None:
    expected = model.scorer()(candidates)
    frame = candidates
    if query_toks:
        frame = model.query_encoder()(frame).drop(columns="query")
    if toks:
        frame = model.doc_encoder(scale=None)(frame).drop(columns="text")
    out = model.scorer()(frame)
    both = out.merge(expected, on=["qid", "docno"])
    assert len(both) == 8
    np.testing.assert_allclose(both["score_x"], both["score_y"], atol=1e-3)


def test_the_scorer_divides_integer_documents_by_their_scale(model: SaeSplade, candidates: pd.DataFrame) -> None:
    expected = model.scorer()(candidates).set_index(["qid", "docno"])["score"]
    for pipeline in (
        model.doc_encoder(scale=1000) >> model.scorer(toks_scale=1000),
        model.doc_encoder(scale=None) >> model.scorer(toks_scale=1000),
    ):
        scores = pipeline(candidates).set_index(["qid", "docno"])["score"]
        np.testing.assert_allclose(scores[expected.index], expected, rtol=0.01, atol=1e-3)
    with pytest.raises(AlreadyQuantizedError):
        (model.query_encoder(scale=100) >> model.scorer())(candidates)


@pytest.mark.parametrize("of", ["index", "statistics"])
def test_the_scorer_with_statistics_gives_the_scores_of_the_retriever(
    of: str, model: SaeSplade, tmp_path: Path
) -> None:
    documents = [{"docno": docno, "text": text} for docno, text in DOCUMENTS.items()]
    index = model.indexer(tmp_path / "index", "exact").index(documents)
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["retrieval with vectors", "pasta for dinner"]})
    run = model.retriever(index)(topics)
    again = run[["qid", "query", "docno"]].merge(pd.DataFrame(documents), on="docno")
    rescored = model.scorer(statistics=index if of == "index" else index.statistics)(again)
    both = run.merge(rescored, on=["qid", "docno"])
    assert len(both) == len(run) > 0
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-4)
    assert both["rank_x"].tolist() == both["rank_y"].tolist()
    unweighted = model.scorer()(again).merge(run, on=["qid", "docno"])
    assert not np.allclose(unweighted["score_x"], unweighted["score_y"], rtol=0.01)


def test_an_index_that_does_not_weight_gives_the_scorer_no_idf(
    model: SaeSplade, candidates: pd.DataFrame, tmp_path: Path
) -> None:
    source = shutil.copytree(model.source, tmp_path / "tuned")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"weighting": "none"}))
    tuned = SaeSplade.from_pretrained(source, precision="float32")
    documents = [{"docno": docno, "text": text} for docno, text in DOCUMENTS.items()]
    index = tuned.indexer(tmp_path / "index", "exact").index(documents)
    plain = tuned.scorer()(candidates)
    pd.testing.assert_frame_equal(tuned.scorer(statistics=index)(candidates), plain)
    assert not np.allclose(tuned.scorer(statistics=index.statistics)(candidates)["score"], plain["score"], rtol=0.01)


def test_rows_of_a_query_need_not_be_adjacent(model: SaeSplade, candidates: pd.DataFrame) -> None:
    expected = model.scorer()(candidates).set_index(["qid", "docno"])["score"]
    mixed = candidates.sort_values("docno", ignore_index=True)
    assert mixed["qid"].tolist()[:3] == ["1", "2", "1"]
    scores = model.scorer()(mixed).set_index(["qid", "docno"])["score"]
    np.testing.assert_allclose(scores[expected.index], expected, atol=1e-3)


def test_frequent_latents_are_dropped(model: SaeSplade, tmp_path: Path) -> None:
    """Before the other rules are applied, and in queries too."""
    documents = ConceptVectors.from_rows([([1, 2], [1.0, 2.0]), ([1], [3.0]), ([1, 3], [1.0, 1.0])])
    index = model.indexer(tmp_path / "index", "exact").index_vectors([(list("abc"), documents)])
    frame = pd.DataFrame({"docno": ["a", "b"], "toks": [{"c1": 9.0, "c2": 2.0, "c3": 3.0}, {"c1": 1.0}]})
    assert Prune(max_df=0.5, statistics=index)(frame)["toks"].tolist() == [{"c2": 2.0, "c3": 3.0}, {}]
    assert Prune(1, max_df=0.5, statistics=index)(frame)["toks"].tolist() == [{"c3": 3.0}, {}]
    assert Prune(max_df=1.0, statistics=index)(frame)["toks"].tolist() == frame["toks"].tolist()
    queries = frame.rename(columns={"docno": "qid", "toks": "query_toks"})
    run = (Prune(max_df=0.5, statistics=index, column="query_toks") >> index.retriever())(queries)
    assert sorted(run["docno"]) == ["a", "c"]
    for settings in ({"max_df": 0.5}, {"statistics": index}):
        with pytest.raises(SettingError, match=r"max_df .*statistics"):
            Prune(2, **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"max_df .*\b1\.5\b"):
        Prune(max_df=1.5, statistics=index)


def test_missing_terms_and_texts(model: SaeSplade, tmp_path: Path) -> None:
    """NaN, which joins produce, is an empty text. Values of other types are an error."""
    index = model.indexer(tmp_path / "index", "exact").index_vectors(
        [(["a"], ConceptVectors.from_rows([([1], [1.0])]))]
    )
    queries = pd.DataFrame({"qid": ["1", "2", "3"], "query_toks": [{"c1": 1.0}, float("nan"), None]})
    for stage in (index.retriever(), LatentWeighting(index) >> index.retriever(weighting="none")):
        assert stage(queries)["qid"].tolist() == ["1"]
    for rule in (Prune(1, column="query_toks"), Quantizer(column="query_toks", verbose=True)):
        assert rule(queries)["query_toks"].tolist()[1:] == [{}, {}]
    candidates = queries.assign(docno="a", toks=[{"c1": 1.0}, {"c1": 1.0}, float("nan")])
    assert model.scorer()(candidates)["score"].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(DataError, match=r"text .*\bint\b.*\b2021\b"):
        model.doc_encoder()(pd.DataFrame({"docno": ["1"], "text": [2021]}))
    with pytest.raises(DataError, match=r"dictionary .*\bstr\b.*'c1'"):
        Prune(1)(pd.DataFrame({"docno": ["1"], "toks": ["c1"]}))
    with pytest.raises(SettingError, match=r"encode\(\['a text'\]\)"):
        model.encode("a text")


def test_the_scorer_refuses_queries_of_another_model(model: SaeSplade) -> None:
    other = SaeSplade.from_pretrained(model.source, k=3)
    frame = pd.DataFrame({"qid": ["1"], "query": ["sparse"], "docno": ["a"], "text": ["sparse"]})
    with pytest.raises(ModelMismatchError, match=f"queries .*{other.fingerprint[:8]}.*{model.fingerprint[:8]}"):
        model.scorer()(other.query_encoder()(frame))
    assert len(model.scorer()(model.query_encoder()(frame))) == 1


def test_numpy_integers_and_paths_are_accepted(model: SaeSplade, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "exact").index([{"docno": "a", "text": "sparse"}])
    assert model.retriever(str(tmp_path / "index"), np.int64(5)) == model.retriever(index, 5)
    assert model.scorer(statistics=tmp_path / "index") == model.scorer(statistics=index)
    assert model.scorer(statistics=index.statistics) == model.scorer(
        statistics=LatentStatistics(index.statistics.df, 1)
    )
    assert len((model.retriever(index) % 0).compile().search("sparse")) == 0
