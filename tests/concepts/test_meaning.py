"""Synonymy, polysemy and translations: figures computed again by hand, and invalid files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyterrier_saesplade.concepts.meaning import (
    alignment,
    polysemy,
    read_occurrences,
    read_translations,
    read_word_pairs,
    synonymy,
    word_vectors,
)
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.saesplade import SaeSplade

PAIRS = pd.DataFrame(
    [("car", "automobile", 3.9), ("car", "noon", 0.1), ("gem", "jewel", 3.8), ("gem", "gem", 4.0), ("car", "road", 2)],
    columns=["first", "second", "score"],
)
SENTENCES = [
    ("He sat on the bank of the river.", "The bank of the stream was muddy.", True),
    ("He sat on the bank of the river.", "The bank lent him money.", False),
    ("The bank raised its rates.", "My bank closed the account.", True),
    ("The bank raised its rates.", "They fished from the bank.", False),
    ("An unbelievably bright bank note.", "The bank holds notes.", False),
]


def occurrences() -> pd.DataFrame:
    rows = [
        ("bank", one, one.index("bank"), one.index("bank") + 4, two, two.index("bank"), two.index("bank") + 4, same)
        for one, two, same in SENTENCES
    ]
    columns = ["lemma", "sentence1", "start1", "end1", "sentence2", "start2", "end2", "same"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def models(model: SaeSplade, splade: SaeSplade) -> dict[str, SaeSplade]:
    return {"concepts": model, "splade": splade}


@pytest.mark.parametrize("kind", ["model", "splade"])
def test_a_word_in_its_context(request: pytest.FixtureRequest, kind: str) -> None:
    """Its vector is made of its word pieces alone. Without a span, all tokens count. A truncated word has no vector."""
    model: SaeSplade = request.getfixturevalue(kind)
    text = "An unbelievably bright bank note."
    (encoded,), (tokens,) = model.encode_tokens([text]), model.tokens([text])
    pieces = [i for i, token in enumerate(tokens) if token.word(text) == "unbelievably"]
    assert len(pieces) > 1
    found = word_vectors(model, [text, text], [(3, 15), (3, 5)])
    alone = encoded.vectors.to_csr(model.width).toarray()[pieces]
    np.testing.assert_allclose(found.concepts.toarray(), [alone.max(axis=0)] * 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.states, [encoded.states[pieces].mean(axis=0)] * 2, rtol=1e-4, atol=1e-5)
    whole = word_vectors(model, [text]).concepts.toarray()
    np.testing.assert_allclose(whole, model.encode([text]).to_csr(model.width).toarray(), rtol=1e-3, atol=1e-3)
    long = "word " * 200 + "last"
    cut = word_vectors(model, [long], [(1000, 1004)])
    assert cut.concepts.nnz == 0
    assert not cut.states.any()
    with pytest.raises(DataError, match=r"\b3\b.*\b99\b"):
        word_vectors(model, [text], [(3, 99)])
    with pytest.raises(DataError, match=r"\b1\b.*\b2\b"):
        word_vectors(model, [text, text], [(3, 9)])


def test_synonymy(models: dict[str, SaeSplade]) -> None:
    table = synonymy(models, {"five": PAIRS, "three": PAIRS.head(3)})
    assert table["model"].tolist() == ["concepts"] * 4 + ["splade"] * 4
    assert table["vectors"].tolist() == ["latents", "states"] * 2 + ["word pieces", "states"] * 2
    assert table["pairs"].tolist() == [5, 5, 3, 3] * 2
    for row in table[table["data"] == "five"].itertuples():
        model = models[row.model]
        cosines, jaccards = [], []
        for first, second in zip(PAIRS["first"], PAIRS["second"], strict=True):
            words = word_vectors(model, [first, second], [(0, len(first)), (0, len(second))])
            one, two = words.states if row.vectors == "states" else words.concepts.toarray()
            cosines.append(one @ two / np.sqrt((one @ one) * (two @ two)))
            jaccards.append(np.minimum(one, two).sum() / np.maximum(one, two).sum())
        assert row.spearman == pytest.approx(stats.spearmanr(cosines, PAIRS["score"]).statistic)
        if row.vectors == "states":
            assert np.isnan(row.jaccard)
        else:
            assert row.jaccard == pytest.approx(stats.spearmanr(jaccards, PAIRS["score"]).statistic)


def test_polysemy(models: dict[str, SaeSplade]) -> None:
    """The threshold is the one that is best on the training pairs."""
    pairs = occurrences()
    table = polysemy(models, pairs, pairs)
    other = polysemy(models, pairs, pairs.assign(same=~pairs["same"]))
    assert other["threshold"].tolist() == table["threshold"].tolist()
    np.testing.assert_allclose(other["accuracy"], 1 - table["accuracy"])
    np.testing.assert_allclose(other["auc"], 1 - table["auc"])
    assert table["similarity"].tolist() == ["cosine", "jaccard", "cosine"] * 2
    for row in table.itertuples():
        if row.similarity != "cosine":
            continue
        vectors = [
            word_vectors(
                models[row.model],
                pairs[f"sentence{side}"].tolist(),
                list(zip(pairs[f"start{side}"], pairs[f"end{side}"], strict=True)),
            )
            for side in (1, 2)
        ]
        one, two = (v.states if row.vectors == "states" else v.concepts.toarray() for v in vectors)
        values = (one * two).sum(1) / np.sqrt((one**2).sum(1) * (two**2).sum(1))
        same = pairs["same"].to_numpy()
        best = max(((values >= threshold - 1e-9) == same).mean() for threshold in values)
        assert row.training == pytest.approx(best)
        assert row.accuracy == row.training
        assert row.auc == pytest.approx(np.mean(values[same][:, None] > values[~same]))


def test_alignment(models: dict[str, SaeSplade]) -> None:
    """If each text is its own translation, all latents are shared and every translation is found."""
    texts = ["a bright bank note", "the river was muddy", "read a file line by line"]
    table = alignment(models, {"same": pd.DataFrame({"text": texts, "translation": texts})})
    of_latents = table[table["vectors"] != "states"]
    assert (of_latents["common"] == 1).all()
    assert (table["found"] == 1).all()
    assert table[table["vectors"] == "states"]["common"].isna().all()
    for row in of_latents.itertuples():
        active = word_vectors(models[row.model], texts).concepts.toarray() > 0
        others = np.roll(active, -1, axis=0)
        shares = (active & others).sum(axis=1) / (active | others).sum(axis=1)
        assert row.by_chance == pytest.approx(shares.mean())


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("car\tauto\t3.5\ngem\tjewel\t4\n")
    assert read_word_pairs(tmp_path / "words.tsv").to_numpy().tolist() == [["car", "auto", 3.5], ["gem", "jewel", 4.0]]
    (tmp_path / "words.tsv").write_text("car\tauto\n")
    with pytest.raises(DataError, match=r"words\.tsv:1\b.*\b3\b.*\b2\b"):
        read_word_pairs(tmp_path / "words.tsv")
    (tmp_path / "words.tsv").write_text("car\tauto\tsame\n")
    with pytest.raises(DataError, match=r"words\.tsv:1\b.*'same'"):
        read_word_pairs(tmp_path / "words.tsv")
    (tmp_path / "none.tsv").write_text("")
    with pytest.raises(DataError, match=r"none\.tsv"):
        read_word_pairs(tmp_path / "none.tsv")
    with gzip.open(tmp_path / "eng.tsv.gz", "wt") as file:
        file.write("Guten Tag\tHello\n")
    assert read_translations(tmp_path / "eng.tsv.gz").to_numpy().tolist() == [["Guten Tag", "Hello"]]
    spans = {"start1": "0", "end1": "3", "ranges2": "4-7,9-12"}
    record = {"lemma": "sit", "sentence1": "sat there", "sentence2": "the sit up", "tag": "F", **spans}
    (tmp_path / "wic.jsonl").write_text(json.dumps(record))
    assert read_occurrences(tmp_path / "wic.jsonl").iloc[0].tolist() == [
        *["sit", "sat there", 0, 3],
        *["the sit up", 4, 7, False],
    ]
    (tmp_path / "wic.jsonl").write_text('{"lemma": "sit"}')
    with pytest.raises(DataError, match=r"wic\.jsonl:1\b.*KeyError"):
        read_occurrences(tmp_path / "wic.jsonl")


@pytest.mark.slow
def test_data_sets_of_judged_words_if_present(collection_folder: Callable[[str], Path]) -> None:
    """The files of the data sets have the expected layout. Machines without them check the files above only."""
    data = collection_folder("wordsim").parent
    for path in data.glob("wordsim/*.tsv"):
        assert read_word_pairs(path)["score"].between(0, 10).all()
    for path in data.glob("mcl-wic/test.en-*.jsonl.gz"):
        pairs = read_occurrences(path)
        assert len(pairs) == 1000
        assert (pairs["end1"] > pairs["start1"]).all()
    for path in data.glob("tatoeba/deu-eng.tsv.gz"):
        assert len(read_translations(path)) == 1000
