"""Co-occurrences of tokens and latents, counted again pair by pair."""

from collections import Counter

import pytest
from scipy import stats

from pyterrier_saesplade.concepts import cooccurrence
from pyterrier_saesplade.concepts import cooccurrences as module
from pyterrier_saesplade.concepts.cooccurrences import KINDS
from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.saesplade import SaeSplade

Documents = list[dict[str, str]]


@pytest.mark.parametrize("kind", ["model", "splade"])
def test_counted_by_hand(request: pytest.FixtureRequest, documents: Documents, kind: str) -> None:
    model: SaeSplade = request.getfixturevalue(kind)
    documents = documents[:30]
    found = cooccurrence(model, documents)
    of_token: Counter[str] = Counter()
    of_latent: Counter[int] = Counter()
    together: Counter[tuple[str, int]] = Counter()
    texts = [document["text"] for document in documents]
    for tokens, encoded in zip(model.tokens(texts), model.encode_tokens(texts), strict=True):
        for row, token in enumerate(tokens):
            if token.piece in ("[CLS]", "[SEP]"):
                continue
            of_token[token.piece] += 1
            for latent in encoded.vectors.row(row)[0].tolist():
                of_latent[latent] += 1
                together[token.piece, latent] += 1
    assert found.occurrences == sum(of_token.values())
    assert found.passages == 30
    chances = {
        (token, latent): stats.binomtest(
            count, of_token[token], of_latent[latent] / found.occurrences, alternative="greater"
        ).pvalue
        for (token, latent), count in together.items()
    }
    adjusted = dict(zip(chances, stats.false_discovery_control(list(chances.values())), strict=True))
    expected = {
        (token, latent)
        for (token, latent), count in together.items()
        if count / of_token[token] > 0.1 and count / of_latent[latent] > 0.1 and adjusted[token, latent] <= 0.05
    }
    assert len(expected) > 20
    assert set(zip(found.pairs["token"], found.pairs["latent"], strict=True)) == expected
    assert found.pairs["count"].is_monotonic_decreasing
    counts = zip(found.pairs["token"], found.pairs["latent"], found.pairs["count"], strict=True)
    assert all(together[token, latent] == count for token, latent, count in counts)
    for row in found.pairs.itertuples():
        assert row.latent_given_token == together[row.token, row.latent] / of_token[row.token]
        assert row.token_given_latent == together[row.token, row.latent] / of_latent[row.latent]
        assert row.p_value == pytest.approx(adjusted[row.token, row.latent], rel=1e-6, abs=1e-300)
        assert row.term == model.terms.name(row.latent)
    assert sum(found.counts.values()) == (found.pairs["kind"] != "").sum()
    assert tuple(found.counts) == KINDS


def test_passages_are_sampled(model: SaeSplade, documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample depends on the seed and not on the chunk size. Blank texts are not sampled."""
    first = cooccurrence(model, iter(documents), 10)
    monkeypatch.setattr(module, "_WINDOW", 3)
    again = cooccurrence(model, iter(documents), 10)
    assert first.passages == 10
    assert first.pairs.equals(again.pairs)
    assert not cooccurrence(model, iter(documents), 10, seed=7).pairs.equals(first.pairs)
    assert cooccurrence(model, [*documents[:5], {"docno": "d", "text": "  "}]).passages == 5


def test_invalid_input(model: SaeSplade, documents: Documents) -> None:
    with pytest.raises(DataError, match="document"):
        cooccurrence(model, [])
    with pytest.raises(SettingError, match=r"passages .*\b0\b"):
        cooccurrence(model, documents, 0)
