"""Anisotropy against its definition: the mean cosine over all pairs of tokens."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, AutoTokenizer

from pyterrier_saesplade.concepts import anisotropy
from pyterrier_saesplade.errors import DataError, PathNotFoundError


def test_anisotropy_is_the_mean_cosine_of_all_pairs_of_tokens(minilm_path: Path) -> None:
    """Each text is read alone and without its markers. Texts of other lengths in the same batch change nothing."""
    texts = ["sparse retrieval", "a dense vector is no index", "words"]
    tokenizer, model = AutoTokenizer.from_pretrained(minilm_path), AutoModel.from_pretrained(minilm_path)
    states = []
    with torch.inference_mode():
        for text in texts:
            layers = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            states.append(torch.stack(layers)[:, 0, 1:-1])
    tokens = torch.cat(states, dim=1)
    expected = [
        torch.stack([cosine_similarity(a, b, dim=0) for a, b in combinations(layer, 2)]).mean().item()
        for layer in tokens
    ]
    found = anisotropy(minilm_path, texts, device="cpu")
    assert len(found) == 7
    assert found == pytest.approx(expected, abs=1e-5)
    assert anisotropy(minilm_path, iter([*texts, "more"]), max_texts=3, device="cpu") == found


def test_one_token_makes_no_pair(minilm_path: Path) -> None:
    with pytest.raises(DataError):
        anisotropy(minilm_path, ["word", ""], device="cpu")


def test_a_missing_encoder(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match="missing"):
        anisotropy(tmp_path / "missing", ["some words"], device="cpu")
