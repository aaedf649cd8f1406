"""The words and contexts of latents: counted by hand, kept in a file, refused to other models."""

import doctest
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyterrier_saesplade.concepts import Lexicon
from pyterrier_saesplade.concepts import lexicon as module
from pyterrier_saesplade.saesplade import SaeSplade

Documents = list[dict[str, str]]


@pytest.fixture(scope="module")
def lexicon(model: SaeSplade, documents: Documents) -> Lexicon:
    return Lexicon.build(model, iter(documents))


def test_the_docstrings_examples_hold() -> None:
    assert doctest.testmod(module) == (0, 1)


def test_it_is_what_the_vectors_say(model: SaeSplade, documents: Documents, lexicon: Lexicon) -> None:
    """Document frequencies, the weights that each word gave, and the strongest places."""
    texts = [document["text"] for document in documents]
    vectors = model.encode(texts, positions=True)
    tokens = model.tokens(texts)
    assert vectors.positions is not None
    weight_of: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    strongest: dict[int, float] = defaultdict(float)
    df: dict[int, int] = defaultdict(int)
    for i, text in enumerate(texts):
        for j in range(vectors.indptr[i], vectors.indptr[i + 1]):
            latent, weight = int(vectors.latents[j]), float(vectors.weights[j])
            token = tokens[i][vectors.positions[j]]
            weight_of[latent][token.word(text).lower() if token.end else token.piece] += weight
            strongest[latent] = max(strongest[latent], weight)
            df[latent] += 1
    assert len(lexicon) == len(df) > 100
    assert lexicon.n_docs == len(documents)
    by_docno = {document["docno"]: document["text"] for document in documents}
    for concept in lexicon:
        assert concept.df == df[concept.latent]
        counted = weight_of[concept.latent]
        weights = [counted[word] for word in concept.words]
        assert weights == sorted(weights, reverse=True)
        assert sum(weights) == pytest.approx(sum(sorted(counted.values(), reverse=True)[: len(weights)]))
        assert len(concept.words) == min(len(counted), 16)
        assert concept.contexts[0].weight == pytest.approx(strongest[concept.latent])
        assert 1 <= len(concept.contexts) <= 5
        for context in concept.contexts:
            assert context.word in ("[CLS]", "[SEP]") or context.word in by_docno[context.docno]
    assert lexicon.words(concept.latent, 1) == [concept.words[0]]
    unused = next(latent for latent in range(model.width) if latent not in df)
    assert lexicon.concept(unused) is None
    assert lexicon.words(unused) == lexicon.words(model.width) == []


def test_windows_change_nothing(
    model: SaeSplade, documents: Documents, lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as no word is forgotten."""
    monkeypatch.setattr(module, "_WINDOW", 13)
    monkeypatch.setattr(module, "_COUNTED_WORDS", 10_000)
    again = Lexicon.build(model, documents)
    for one, other in zip(lexicon, again, strict=True):
        assert (one.latent, one.df) == (other.latent, other.df)
        assert [context.weight for context in one.contexts] == pytest.approx([c.weight for c in other.contexts])
        assert one.words[0] == other.words[0] or one.df > 1  # sums differ by rounding


def test_light_words_are_forgotten(model: SaeSplade, documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW", 13)
    monkeypatch.setattr(module, "_COUNTED_WORDS", 3)
    found = Lexicon.build(model, documents)
    assert max(len(concept.words) for concept in found) == 3


def test_a_file_keeps_it(model: SaeSplade, lexicon: Lexicon, documents: Documents, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.parquet"
    lexicon.write(path)
    opened = Lexicon.open(path)
    assert list(opened) == list(lexicon)
    assert opened.description == lexicon.description
    assert opened.description["fingerprint"] == model.fingerprint
    Lexicon.build(model, documents).write(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    with pytest.raises(FileExistsError, match=r"lexicon.parquet exists already"):
        lexicon.write(path)
    lexicon.write(path, overwrite=True)
    frame = pd.read_parquet(path)
    assert frame.columns.tolist() == ["latent", "term", "df", "words", "contexts"]
    assert frame["words"][0][0].keys() == {"word", "documents", "weight"}
    assert {entry.name for entry in tmp_path.iterdir()} == {"lexicon.parquet", "again.parquet"}


def test_a_model_of_the_hub_keeps_none(random_model_path: Path) -> None:
    model = SaeSplade.from_pretrained(random_model_path)
    assert Lexicon.path(model) == random_model_path / "concepts.parquet"
    model.source = "me/my-model"
    with pytest.raises(ValueError, match="me/my-model is no folder that could keep a lexicon: name a file"):
        Lexicon.path(model)


def test_words_are_looked_up(model: SaeSplade, lexicon: Lexicon) -> None:
    """By what the model lights, and by what the collection's words lit."""
    lit = lexicon.activated_by(model, "Return")
    weights = [weight for weight, _ in lit]
    assert weights == sorted(weights, reverse=True)
    assert {concept.latent for _, concept in lit} == set(model.encode(["Return"]).latents.tolist())
    found = lexicon.of_word("Return")
    assert found
    assert all("return" in concept.words for concept in found)
    assert sum("return" in concept.words for concept in lexicon) == len(found)
    assert lexicon.of_word("xylophone") == []
    with pytest.raises(ValueError, match="the lexicon is of another model"):
        lexicon.activated_by(SaeSplade.from_pretrained(model.source, k=4), "return")


def test_repetitions_are_one_context(model: SaeSplade) -> None:
    found = Lexicon.build(model, [{"docno": f"d{i}", "text": "the same text"} for i in range(9)])
    assert all(len(concept.contexts) == 1 for concept in found)
    assert all(concept.df == 9 for concept in found)


def test_word_pieces_have_words_too(splade: SaeSplade, documents: Documents) -> None:
    found = Lexicon.build(splade, documents[:9])
    assert found.of_word("return")
    assert all(concept.term == splade.terms.name(concept.latent) for concept in found)


def test_what_is_no_lexicon(model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no lexicon at"):
        Lexicon.open(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(ValueError, match="it is not a Parquet file"):
        Lexicon.open(tmp_path / "text.parquet")
    pq.write_table(pa.table({"docno": ["d1"]}), tmp_path / "store.parquet")
    with pytest.raises(ValueError, match="its columns are docno"):
        Lexicon.open(tmp_path / "store.parquet")
    with pytest.raises(ValueError, match="there are no documents"):
        Lexicon.build(model, [])
    with pytest.raises(ValueError, match="has no 'text'"):
        Lexicon.build(model, [{"docno": "d1"}])
