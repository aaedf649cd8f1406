"""The words and contexts of latents: counted again, saved to a file, and refused to other models."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyterrier_saesplade.concepts import Lexicon
from pyterrier_saesplade.concepts import lexicon as module
from pyterrier_saesplade.errors import (
    DataError,
    ModelMismatchError,
    PathExistsError,
    PathNotFoundError,
    SettingError,
)
from pyterrier_saesplade.saesplade import SaeSplade

Documents = list[dict[str, str]]


@pytest.fixture(scope="module")
def lexicon(model: SaeSplade, documents: Documents) -> Lexicon:
    return Lexicon.build(model, iter(documents))


def test_a_lexicon_agrees_with_the_vectors(model: SaeSplade, documents: Documents, lexicon: Lexicon) -> None:
    """Document frequencies, the weights that each word gave, and the strongest contexts."""
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


def test_the_chunk_size_changes_nothing(
    model: SaeSplade, documents: Documents, lexicon: Lexicon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as no word is dropped. Words of equal weight may change places, because sums differ by rounding."""
    monkeypatch.setattr(module, "_WINDOW", 13)
    monkeypatch.setattr(module, "_COUNTED_WORDS", 10_000)
    again = Lexicon.build(model, documents)
    for one, other in zip(lexicon, again, strict=True):
        assert (one.latent, one.df) == (other.latent, other.df)
        # Of equal contexts one is kept, and smaller chunks find others in their place.
        strongest = [context.weight for context in other.contexts][: len(one.contexts)]
        assert [context.weight for context in one.contexts] == pytest.approx(strongest)
    lexicon.write(tmp_path / "one.parquet")
    again.write(tmp_path / "other.parquet")
    for one, other in zip(
        *(pd.read_parquet(tmp_path / f"{name}.parquet")["words"] for name in ("one", "other")), strict=True
    ):
        assert clear_words(one) == pytest.approx(clear_words(other), rel=1e-4)


def clear_words(words: list[dict[str, Any]]) -> dict[str, float]:
    """The words of a latent and their weights, without those that tie with the last of a list that may be cut off."""
    least = words[-1]["weight"] if len(words) == 16 else 0.0
    return {word["word"]: word["weight"] for word in words if word["weight"] > 1.001 * least}


def test_words_with_little_weight_are_dropped(
    model: SaeSplade, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW", 13)
    monkeypatch.setattr(module, "_COUNTED_WORDS", 3)
    found = Lexicon.build(model, documents)
    assert max(len(concept.words) for concept in found) == 3


def test_a_lexicon_is_saved_and_opened(
    model: SaeSplade, lexicon: Lexicon, documents: Documents, tmp_path: Path
) -> None:
    path = tmp_path / "lexicon.parquet"
    lexicon.write(path)
    opened = Lexicon.open(path)
    assert list(opened) == list(lexicon)
    assert opened.description == lexicon.description
    assert opened.description["fingerprint"] == model.fingerprint
    Lexicon.build(model, documents).write(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    with pytest.raises(PathExistsError, match=str(path)):
        lexicon.write(path)
    lexicon.write(path, overwrite=True)
    frame = pd.read_parquet(path)
    assert frame.columns.tolist() == ["latent", "term", "df", "words", "contexts"]
    assert frame["words"][0][0].keys() == {"word", "documents", "weight"}
    assert {entry.name for entry in tmp_path.iterdir()} == {"lexicon.parquet", "again.parquet"}


def test_a_model_of_the_hub_has_no_folder_for_a_lexicon(random_model_path: Path) -> None:
    model = SaeSplade.from_pretrained(random_model_path)
    assert Lexicon.path(model) == random_model_path / "concepts.parquet"
    model.source = "me/my-model"
    with pytest.raises(SettingError, match=r"me/my-model.*--lexicon"):
        Lexicon.path(model)


def test_words_are_looked_up(model: SaeSplade, lexicon: Lexicon) -> None:
    """By the latents that the model activates, and by those that the word activated in the collection."""
    activated = lexicon.activated_by(model, "Return")
    weights = [weight for weight, _ in activated]
    assert weights == sorted(weights, reverse=True)
    assert {concept.latent for _, concept in activated} == set(model.encode(["Return"]).latents.tolist())
    found = lexicon.of_word("Return")
    assert found
    assert all("return" in concept.words for concept in found)
    assert sum("return" in concept.words for concept in lexicon) == len(found)
    assert lexicon.of_word("xylophone") == []
    other = SaeSplade.from_pretrained(model.source, k=4)
    with pytest.raises(ModelMismatchError, match=f"lexicon.*{model.fingerprint[:8]}.*{other.fingerprint[:8]}"):
        lexicon.activated_by(other, "return")


def test_equal_contexts_appear_once(model: SaeSplade) -> None:
    found = Lexicon.build(model, [{"docno": f"d{i}", "text": "the same text"} for i in range(9)])
    assert all(len(concept.contexts) == 1 for concept in found)
    assert all(concept.df == 9 for concept in found)


def test_word_pieces_have_words_too(splade: SaeSplade, documents: Documents) -> None:
    found = Lexicon.build(splade, documents[:9])
    assert found.of_word("return")
    assert all(concept.term == splade.terms.name(concept.latent) for concept in found)


def test_files_and_documents_that_make_no_lexicon(model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "nowhere.parquet")):
        Lexicon.open(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(DataError, match=f"{tmp_path / 'text.parquet'}.*Parquet"):
        Lexicon.open(tmp_path / "text.parquet")
    pq.write_table(pa.table({"docno": ["d1"]}), tmp_path / "store.parquet")
    with pytest.raises(DataError, match=f"{tmp_path / 'store.parquet'}.*docno"):
        Lexicon.open(tmp_path / "store.parquet")
    with pytest.raises(DataError, match="documents"):
        Lexicon.build(model, [])
    with pytest.raises(DataError, match=r"'d1'.*'text'"):
        Lexicon.build(model, [{"docno": "d1"}])
