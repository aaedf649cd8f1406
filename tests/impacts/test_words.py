"""Words: tokenisation and stemming, BM25's weights, and saving them."""

import json

import numpy as np
import pytest

from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.impacts import Words

DOCUMENTS = [
    {"docno": "1", "text": "The cats sat on the mats, cats!"},
    {"docno": "2", "text": "A dog's mat"},
    {"docno": "3", "text": None},
    {"docno": "4", "text": ""},
]


def test_words_are_stemmed_and_stop_words_left_out() -> None:
    words = Words.count(DOCUMENTS)
    assert words.stems == ["cat", "dog", "mat", "sat"]
    assert words.df.tolist() == [1, 1, 2, 1]
    assert words.n_docs == 4
    assert words.mean_length == 6 / 4


def test_weights_are_those_of_bm25() -> None:
    words = Words.count(DOCUMENTS, k1=1.2, b=0.75)
    vectors = words.documents([document["text"] for document in DOCUMENTS])
    latents, weights = vectors.row(0)  # cats, sat, mats, cats
    assert [words.stems[latent] for latent in latents] == ["cat", "mat", "sat"]
    norm = 1.2 * (0.25 + 0.75 * 4 / 1.5)
    assert weights == pytest.approx([2.2 * 2 / (2 + norm), 2.2 / (1 + norm), 2.2 / (1 + norm)])
    assert [len(vectors.row(i)[0]) for i in range(4)] == [3, 2, 0, 0]
    assert words.idf() == pytest.approx(np.log(5 / np.array([1.5, 1.5, 2.5, 1.5])))


def test_queries_have_counts_of_known_words() -> None:
    words = Words.count(DOCUMENTS)
    vectors = words.queries(["cat, cats and a lion", None, ""])
    assert vectors.row(0)[0].tolist() == [0]
    assert vectors.row(0)[1].tolist() == [2.0]
    assert vectors.indptr.tolist() == [0, 1, 1, 1]


def test_other_languages_and_none() -> None:
    german = Words.count([{"docno": "1", "text": "Die Häuser und das Haus"}], language="german")
    assert german.stems == ["das", "die", "haus", "und"]
    assert Words.count([{"docno": "1", "text": "The cats"}], language="none").stems == ["cats", "the"]
    with pytest.raises(SettingError, match=r"'klingon'.*german"):
        Words.count(DOCUMENTS, language="klingon")


def test_order_does_not_matter_and_json_keeps_everything() -> None:
    words = Words.count(DOCUMENTS, language="english")
    assert Words.count(reversed(DOCUMENTS), language="english") == words
    again = Words(**json.loads(json.dumps(words.to_dict())))
    assert again == words
    assert hash(again) == hash(words)
    assert again.language == "english"
    assert words != Words.count(DOCUMENTS)


def test_invalid_input() -> None:
    with pytest.raises(DataError, match="words"):
        Words.count([{"docno": "1", "text": "the of"}])
    with pytest.raises(SettingError, match=r"\bb\b.*\b2\b"):
        Words.count(DOCUMENTS, b=2)


def test_words_that_terrier_cannot_hold_are_left_out() -> None:
    """An underscore separates words. A URL or a clause of Chinese is too long for a word."""
    words = Words.count([{"docno": "1", "text": f"high_blood_pressure {'x' * 39} {'x' * 38} {'音' * 13} {'音' * 12}"}])
    assert words.stems == ["blood", "high", "pressur", "x" * 38, "音" * 12]
