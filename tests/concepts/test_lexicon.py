"""The words of latents, and scores taken apart."""

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from pyterrier_saesplade.concepts import lexicon
from pyterrier_saesplade.concepts.lexicon import Lexicon, shared_concepts
from pyterrier_saesplade.encoding.encoder import Encoder
from pyterrier_saesplade.model import SaeSpladeModel

TEXTS = ["Sparse autoencoders, unbelievably.", "", "  ", "unbelievably sparse Naïveté"]


def encoder(backbone: Path, **settings: object) -> Encoder:
    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(backbone, width=64, k=2, k_sae=2, **settings)
    return Encoder(model, AutoTokenizer.from_pretrained(backbone), precision="float32")


def test_the_docstrings_examples_hold() -> None:
    results = doctest.testmod(lexicon)
    assert results.attempted > 4
    assert results.failed == 0


@pytest.mark.parametrize("markers", [False, True])
def test_words_are_those_at_the_positions(minilm_path: Path, markers: bool) -> None:
    """Whole words in lower case at every one of their pieces, with markers or not; special tokens by name."""
    model = encoder(minilm_path, markers=markers, doc_max_length=32)
    words = lexicon._words_by_position(model, TEXTS)
    marker = ["[unused1]"] if markers else []
    pieces = model.tokenizer.tokenize("unbelievably")
    assert len(pieces) > 1
    last = ["unbelievably"] * len(pieces) + ["sparse"]
    accented = ["naïveté"] * len(model.tokenizer.tokenize("Naïveté"))
    assert words[3] == ["[CLS]", *marker, *last, *accented, "[SEP]"]
    vectors = model.encode(TEXTS, side="doc", positions=True)
    assert vectors.positions is not None
    assert vectors.positions.max() < max(map(len, words))


@pytest.mark.parametrize("markers", [False, True])
def test_a_latents_words_are_those_that_excite_it_most(minilm_path: Path, markers: bool) -> None:
    """Counted by hand from the model's own activations, token by token."""
    model = encoder(minilm_path, markers=markers, doc_max_length=32)
    found = Lexicon.of(model, TEXTS)
    expected: dict[int, list[str]] = {}
    for text, words in zip(TEXTS, lexicon._words_by_position(model, TEXTS), strict=True):
        if not text.strip():
            continue
        ids = model.tokenizer(text)["input_ids"]
        ids = [ids[0], *([model.tokenizer.convert_tokens_to_ids("[unused1]")] if markers else []), *ids[1:]]
        with torch.no_grad():
            states = model.token_states([ids])
            head = model.model.head
            activations = (states - head.b_dec) @ head.W_enc.T + head.b_enc
        top = torch.zeros_like(activations).scatter(1, *reversed(activations.topk(2, dim=1)))
        for latent in (top.amax(0) > 0).nonzero().flatten().tolist():
            expected.setdefault(latent, []).append(words[int(top[:, latent].argmax())])
    assert expected
    for latent in range(64):
        assert sorted(found.words(latent)) == sorted(set(expected.get(latent, []))), latent


def test_long_texts_are_cut_where_the_encoder_cuts_them(minilm_path: Path) -> None:
    """No word is named that the encoder did not see."""
    model = encoder(minilm_path, markers=True, doc_max_length=8)
    text = "alpha beta gamma delta epsilon zeta eta theta"
    seen = set(lexicon._words_by_position(model, [text])[0])
    named = {word for latent in range(64) for word in Lexicon.of(model, [text]).words(latent)}
    assert named <= seen
    assert "theta" not in seen
    assert len(lexicon._words_by_position(model, [text])[0]) == 8


def test_contributions_sum_to_the_score(minilm_path: Path) -> None:
    """With idf and without; by descending contribution."""
    model = encoder(minilm_path)
    vectors = model.encode(["sparse vectors", "vectors that are sparse"], side="doc")
    idf = np.linspace(0.5, 3.0, 64, dtype=np.float32)
    dense = vectors.to_csr(64).toarray().astype(np.float64)
    for weights in (None, idf):
        shared = shared_concepts(vectors.row(0), vectors.row(1), weights)
        contributions = [concept.contribution for concept in shared]
        assert contributions == sorted(contributions, reverse=True)
        score = float((dense[0] * dense[1] * (1 if weights is None else idf)).sum())
        assert sum(contributions) == pytest.approx(score, rel=1e-6)
        assert {concept.latent for concept in shared} == set(np.flatnonzero(dense[0] * dense[1]).tolist())
