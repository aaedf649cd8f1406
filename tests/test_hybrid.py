"""Words and concepts in one index: scores are the sums of both, and names do not clash."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.errors import DataError, ModelMismatchError, PathExistsError, SettingError
from pyterrier_saesplade.hybrid import WordsAndConcepts
from pyterrier_saesplade.impacts import Words
from pyterrier_saesplade.saesplade import SaeSplade

DOCUMENTS = [
    {"docno": "1", "text": "c12 is the twelfth latent"},
    {"docno": "2", "text": "music of the spheres"},
    {"docno": "3", "text": "concepts in retrieval"},
    {"docno": "4", "text": None},
]
TEXTS = [document["text"] for document in DOCUMENTS]
ENGINES = ["exact", pytest.param("terrier", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def model(random_model_path: Path) -> SaeSplade:
    return SaeSplade.from_pretrained(random_model_path, precision="float32")


@pytest.fixture(scope="module")
def both(model: SaeSplade) -> WordsAndConcepts:
    return WordsAndConcepts(model, Words.count(DOCUMENTS), 3.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_word_c12_is_not_the_latent_c12(both: WordsAndConcepts, tmp_path: Path, engine: str) -> None:
    assert both.terms.latent("wc12") == 2048 + both.words.stems.index("c12")
    assert both.terms.latent("c12") == 12
    words_alone = WordsAndConcepts(both.model, both.words, 1e6)
    index = both.indexer(tmp_path / engine, engine).index(DOCUMENTS)
    assert words_alone.retriever(index).search("c12")["docno"][0] == "1"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_score_is_the_sum_of_both(both: WordsAndConcepts, tmp_path: Path, engine: str) -> None:
    index = both.indexer(tmp_path / "both", engine).index(DOCUMENTS)
    concepts = both.model.indexer(tmp_path / "concepts", "exact").index(DOCUMENTS)
    query = "retrieval of music, music"
    alone = both.model.retriever(concepts).search(query).set_index("docno")["score"]
    bm25 = Words.count(DOCUMENTS)
    counts, saturated = bm25.queries([query]), bm25.documents(TEXTS)
    words = (saturated.to_csr(len(bm25)) @ (counts.to_csr(len(bm25)).multiply(bm25.idf())).T).toarray().ravel()
    found = both.retriever(index).search(query)
    expected = alone + 3.0 * pd.Series(words, ["1", "2", "3", "4"])
    bound = 1e-4 if engine == "exact" else 0.05 * expected.max()  # Terrier's weights are rounded to tenths
    for docno, score in zip(found["docno"], found["score"], strict=True):
        assert score == pytest.approx(expected[docno], abs=bound)


def test_a_balance_of_0_leaves_the_concepts(both: WordsAndConcepts, tmp_path: Path) -> None:
    index = both.indexer(tmp_path / "both", "exact").index(DOCUMENTS)
    concepts = both.model.indexer(tmp_path / "concepts", "exact").index(DOCUMENTS)
    without = WordsAndConcepts(both.model, both.words, 0)  # no other index is needed
    pd.testing.assert_frame_equal(
        without.retriever(index).search("music"), both.model.retriever(concepts).search("music"), check_exact=False
    )


@pytest.mark.slow
def test_words_next_to_word_pieces(splade_path: Path, tmp_path: Path) -> None:
    """An index of SPLADE has no idf, so queries contain the idf of words. The piece "word" is not the word "ord"."""
    splade = SaeSplade.from_splade(splade_path)
    both = WordsAndConcepts.fit(splade, DOCUMENTS, balance=1.0)
    assert both.weighting == "none"
    words = both.words
    latents, weights = both.encode(["music"], "query").row(0)
    name = both.terms.name(int(latents[-1]))
    assert name == "w:music"
    assert weights[-1] == pytest.approx(words.idf()[words.stems.index("music")])
    index = both.indexer(tmp_path / "index").index(DOCUMENTS)
    assert both.retriever(index).search("music")["docno"][0] == "2"


def test_feedback_weights_words_as_queries_do(both: WordsAndConcepts, splade_path: Path) -> None:
    """A document's word is multiplied by the balance and, if the index has no idf, by its idf."""
    splade = SaeSplade.from_splade(splade_path)
    for model in (both, WordsAndConcepts.fit(splade, DOCUMENTS, balance=3.0)):
        documents = model.encode(TEXTS)
        asked = model.as_query(documents)
        width = len(model.model.terms)
        is_word = documents.latents >= width
        idf = model.words.idf()[documents.latents[is_word] - width] if model.weighting == "none" else 1.0
        assert asked.weights[is_word] == pytest.approx(documents.weights[is_word] * 3.0 * idf)
        assert np.array_equal(asked.weights[~is_word], documents.weights[~is_word])
    row = pd.DataFrame({"qid": ["1"], "query": ["music"], "docno": ["2"], "text": [TEXTS[1]], "rank": [0]})
    (query,) = both.feedback(beta=1.0, concepts=5000)(row)["query_toks"]
    document = both.as_query(both.encode([TEXTS[1]])).to_csr(len(both.terms)).toarray()[0]
    first = both.encode(["music"], "query").to_csr(len(both.terms)).toarray()[0]
    expected = first + document * np.linalg.norm(first) / np.linalg.norm(document)
    assert query == pytest.approx({both.terms.name(i): expected[i] for i in np.flatnonzero(expected)}, rel=1e-4)


def test_the_balance_makes_the_spreads_equal_whatever_the_order(
    model: SaeSplade, numpy_documents: list[dict[str, str]]
) -> None:
    documents = numpy_documents[:80]
    both = WordsAndConcepts.fit(model, documents)
    assert WordsAndConcepts.fit(model, reversed(documents)).balance == pytest.approx(both.balance, rel=1e-5)
    assert 0.1 < both.balance < 100
    twice = Words.count(documents)
    assert both == WordsAndConcepts(model, twice, both.balance)


def test_texts_under_another_key(model: SaeSplade) -> None:
    documents = [{"docno": document["docno"], "body": document["text"]} for document in DOCUMENTS]
    named = WordsAndConcepts.fit(model, documents, balance=1.0, text_field="body")
    assert named == WordsAndConcepts.fit(model, DOCUMENTS, balance=1.0)
    with pytest.raises(DataError, match=r"'1'.*'text'.*\bdocno, body\b"):
        WordsAndConcepts.fit(model, documents, balance=1.0)


def test_words_and_balance_are_saved_and_loaded(both: WordsAndConcepts, tmp_path: Path) -> None:
    both.save(tmp_path / "words.json")
    assert WordsAndConcepts.load(tmp_path / "words.json", both.model) == both
    with pytest.raises(PathExistsError, match=str(tmp_path / "words.json")):
        both.save(tmp_path / "words.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"balance": 1}'])
def test_a_damaged_file_is_named(both: WordsAndConcepts, tmp_path: Path, content: str) -> None:
    path = tmp_path / "words.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=str(path)):
        WordsAndConcepts.load(path, both.model)


def test_balances_that_are_unknown_or_out_of_range(model: SaeSplade, both: WordsAndConcepts) -> None:
    with pytest.raises(DataError, match=r"balance .*\bbalance=4\b"):
        WordsAndConcepts.fit(model, DOCUMENTS[:1])
    with pytest.raises(SettingError, match=r"balance .*-1\b"):
        WordsAndConcepts(model, both.words, -1)


def test_an_index_of_another_model_is_refused(both: WordsAndConcepts, tmp_path: Path) -> None:
    index = both.model.indexer(tmp_path / "concepts", "exact").index(DOCUMENTS)
    with pytest.raises(ModelMismatchError, match=f"{index.path}.*{index.fingerprint[:8]}.*{both.fingerprint[:8]}"):
        both.retriever(index)


def test_stages_are_those_of_a_model(both: WordsAndConcepts, tmp_path: Path) -> None:
    again = WordsAndConcepts(both.model, Words.count(DOCUMENTS), 3.0)
    assert both.query_encoder() == again.query_encoder()
    assert hash(both) == hash(again)
    index = both.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    run = both.retriever(index).search("music of retrieval")
    texts = pt.apply.by_query(lambda rows: rows.assign(text=rows["docno"].map(dict(zip("1234", TEXTS, strict=True)))))
    scored = (texts >> both.scorer(statistics=index))(run).sort_values("rank")
    assert scored["docno"].tolist() == run["docno"].tolist()
    assert np.allclose(scored["score"], run["score"], rtol=1e-5)
