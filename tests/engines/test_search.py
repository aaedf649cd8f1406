"""The results of searches, which are the same for all engines."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.engines import ConceptIndex
from pyterrier_saesplade.errors import AlreadyQuantizedError, SettingError
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

from .conftest import EVERY_ENGINE, Corpus


def query(**toks: float) -> pd.DataFrame:
    return pd.DataFrame([{"qid": "q", "query_toks": toks}])


@pytest.fixture(scope="module", params=EVERY_ENGINE)
def tiny(request: pytest.FixtureRequest, model: SaeSplade, tmp_path_factory: pytest.TempPathFactory) -> ConceptIndex:
    """Five documents with weights chosen by hand: d2 and d4 are equal, d3 is empty."""
    rows = [([1, 5], [0.3, 0.5]), ([1], [1.26]), ([], []), ([1], [1.26]), ([2047], [0.04])]
    path = tmp_path_factory.mktemp("indexes") / "tiny"
    indexer = model.indexer(path, request.param, quantization=Quantization())
    return indexer.index_vectors([(["d1", "d2", "d3", "d4", "d5"], ConceptVectors.from_rows(rows))])


@pytest.mark.slow
def test_terrier_equals_exact_for_every_query(
    model: SaeSplade, topics: pd.DataFrame, terrier: ConceptIndex, exact: ConceptIndex
) -> None:
    queries = model.query_encoder()(topics)
    found, expected = (index.retriever(1000)(queries) for index in (terrier, exact))
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], check_dtype=False)
    assert len(found) >= 900 * len(topics)  # the comparison is over full rankings
    assert found.duplicated(["qid", "score"]).any()  # ties included


@pytest.mark.parametrize("dtype", ["string", object])
def test_rankings_have_python_strings(tiny: ConceptIndex, dtype: object) -> None:
    queries = query(c1=1.0).assign(qid=pd.array(["q"], dtype=dtype), note=pd.array([None], dtype=dtype))
    found = tiny.retriever(3)(queries)
    assert {str(found[name].dtype) for name in ("qid", "docno", "note")} == {"object"}
    assert found["qid"].tolist() == ["q"] * 3
    assert found["note"].isna().all()


@pytest.mark.slow
def test_scores_are_dot_products_of_the_quantised_vectors(
    model: SaeSplade, topics: pd.DataFrame, corpus: Corpus, terrier: ConceptIndex
) -> None:
    documents = Quantization(10).quantize(corpus[1]).to_csr(2048).astype(np.int64)
    df = np.bincount(documents.indices, minlength=2048)
    idf = np.log((len(corpus[0]) + 1) / (df + 0.5)).astype(np.float32)
    vectors = model.encode(topics["query"].tolist()[:5], "query").to_csr(2048)
    weighted = np.floor((vectors.multiply(idf)).toarray().astype(np.float64) * 100 + 0.5).astype(np.int64)
    scores = documents @ weighted.T
    run = model.retriever(terrier, 10)(topics.head(5))
    for number, qid in enumerate(topics["qid"].head(5)):
        best = np.lexsort((np.arange(len(scores)), -scores[:, number]))[:10]
        of_query = run[run["qid"] == qid]
        assert of_query["docno"].tolist() == [corpus[0][i] for i in best]
        assert of_query["score"].tolist() == (scores[best, number] / 1000).tolist()


@pytest.mark.slow
def test_quantisation_changes_scores_little(
    model: SaeSplade, topics: pd.DataFrame, terrier: ConceptIndex, floats: ConceptIndex
) -> None:
    both = model.retriever(terrier, 20)(topics).merge(model.retriever(floats, 20)(topics), on=["qid", "docno"])
    assert len(both) > 0.8 * 20 * len(topics)
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=0.05)


def test_hand_made_scores(tiny: ConceptIndex) -> None:
    run = tiny.retriever(weighting="none")(query(c1=0.5, c5=2.0))
    assert run["docno"].tolist() == ["d1", "d2", "d4"]  # ties in the order of indexing
    assert run["score"].tolist() == [(3 * 50 + 5 * 200) / 1000, 13 * 50 / 1000, 13 * 50 / 1000]
    assert run["rank"].tolist() == [0, 1, 2]
    assert run["qid"].tolist() == ["q"] * 3


def test_idf_comes_before_quantisation(tiny: ConceptIndex) -> None:
    assert tiny.statistics.df[[1, 5, 2047]].tolist() == [3, 1, 0]  # 0.04 fell to nothing
    assert tiny.statistics.n_docs == 5
    run = tiny.retriever()(query(c1=0.01))
    # 0.01 * ln(6 / 3.5) = 0.0054 is one level. Quantising first would give one level, times 0.54, which is none.
    assert run["score"].tolist() == [13 * 1 / 1000, 13 * 1 / 1000, 3 * 1 / 1000]


def test_num_results_cuts_ties_by_order(tiny: ConceptIndex) -> None:
    assert tiny.retriever(1)(query(c1=1.0))["docno"].tolist() == ["d2"]
    cut = (tiny.retriever() % 2).compile()
    assert cut == tiny.retriever(2)
    assert cut(query(c1=1.0))["docno"].tolist() == ["d2", "d4"]
    assert (tiny.retriever(2) % 10).compile() == tiny.retriever(2)


def test_queries_without_results_have_no_rows(tiny: ConceptIndex) -> None:
    queries = pd.DataFrame(
        {
            "qid": ["empty", "none", "unknown", "unindexed", "too small", "good"],
            "query_toks": [{}, None, {"c99999": 1.0, "word": 2.0}, {"c7": 1.0}, {"c1": 0.001}, {"c5": 1.0, "x": 9.0}],
        }
    )
    run = tiny.retriever()(queries)
    assert run[["qid", "docno"]].to_numpy().tolist() == [["good", "d1"]]
    nothing = tiny.retriever()(queries.head(2))
    assert len(nothing) == 0
    assert list(nothing.columns) == ["qid", "query_toks", "docno", "score", "rank"]
    assert tiny.retriever()(queries.head(0)).columns.tolist() == nothing.columns.tolist()


def test_a_query_of_ten_thousand_words(model: SaeSplade, tiny: ConceptIndex) -> None:
    words = " ".join(f"word{i}" for i in range(10_000))
    query_of_words = [{"qid": "1", "query": words}]
    assert model.retriever(tiny)(query_of_words) == tiny.retriever()(model.query_encoder()(query_of_words))
    assert len(model.query_encoder()(query_of_words)[0]["query_toks"]) > 50
    every_latent = {f"c{latent}": 1.0 + latent for latent in range(2048)}
    run = tiny.retriever(weighting="none")(query(**every_latent))
    assert run["docno"].tolist() == ["d1", "d2", "d4"]
    assert run["score"].tolist() == [3 * 0.2 + 5 * 0.6, 13 * 0.2, 13 * 0.2]


def test_integers_in_a_query_are_an_error(tiny: ConceptIndex) -> None:
    with pytest.raises(AlreadyQuantizedError):
        tiny.retriever()(query(c1=3, c5=2))


def test_the_columns_of_queries_stay(tiny: ConceptIndex) -> None:
    queries = query(c5=1.0).assign(query="five", extra=7)
    run = tiny.retriever()(queries)
    assert run.iloc[0].to_dict() == {
        "qid": "q",
        "query_toks": {"c5": 1.0},
        "query": "five",
        "extra": 7,
        "docno": "d1",
        "score": run["score"][0],
        "rank": 0,
    }


def test_settings_are_checked(tiny: ConceptIndex) -> None:
    with pytest.raises(SettingError, match=r"num_results .*\b0\b"):
        tiny.retriever(0)
    with pytest.raises(SettingError, match=r"weighting .*'idf'.*'none'.*'bm25'"):
        tiny.retriever(weighting="bm25")
    with pytest.raises(KeyError):
        tiny.retriever()(pd.DataFrame([{"qid": "1", "query": "no vectors"}]))


def test_equality_and_pickling(tiny: ConceptIndex) -> None:
    again = pt.Artifact.load(str(tiny.path))
    assert again is not tiny
    assert tiny.retriever(10) == again.retriever(10)
    assert hash(tiny.retriever(10)) == hash(again.retriever(10))
    assert tiny.retriever(10) != again.retriever(11)
    copy = pickle.loads(pickle.dumps(tiny.retriever(10)))
    assert copy == tiny.retriever(10)
    pd.testing.assert_frame_equal(copy(query(c1=1.0)), tiny.retriever(10)(query(c1=1.0)))
    assert repr(tiny.retriever(10)) == f"ConceptRetriever(index={tiny!r}, num_results=10)"


@pytest.mark.slow
def test_word_pieces_as_pseudo_terms(splade: SaeSplade, collection: Collection, tmp_path: Path) -> None:
    """Word pieces like `##ing` or `.` are not words of Terrier's query language."""
    documents = [document for document, _ in zip(collection.get_corpus_iter(), range(40), strict=False)]
    vectors = splade.encode([document["text"] for document in documents])
    corpus = [([document["docno"] for document in documents], vectors)]
    terrier = splade.indexer(tmp_path / "t").index_vectors(corpus)
    exact = splade.indexer(tmp_path / "e", "exact", quantization=Quantization()).index_vectors(corpus)
    odd = [name for latent in np.unique(vectors.latents) if not (name := splade.terms.name(latent)).isalnum()]
    assert odd
    queries = pd.DataFrame({"qid": odd, "query_toks": [{name: 1.0} for name in odd]})
    found, expected = (index.retriever()(queries) for index in (terrier, exact))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert found["qid"].nunique() > len(odd) / 2
    assert splade.weighting == terrier.weighting == "none"


@pytest.mark.slow
def test_the_plain_terrier_index_works_without_this_package(model: SaeSplade, tmp_path: Path) -> None:
    rows = ConceptVectors.from_rows([([1, 5], [0.3, 0.5]), ([1], [1.26])])
    index = model.indexer(tmp_path / "index").index_vectors([(["d1", "d2"], rows)])
    plain = pt.terrier.TerrierIndex(tmp_path / "index" / "terrier")
    assert index.path == tmp_path / "index"
    run = plain.tf()(pd.DataFrame([{"qid": "1", "query_toks": {"c1": 1.0}}]))
    assert run[["docno", "score"]].to_numpy().tolist() == [["d2", 13.0], ["d1", 3.0]]


def test_the_contract_of_pyterrier(tiny: ConceptIndex, check_contract: Callable[[pt.Transformer], None]) -> None:
    check_contract(tiny.retriever(10))
