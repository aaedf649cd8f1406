"""The encoder: how the vector of a text is computed, and what it does not depend on."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyterrier_saesplade.encoding import Encoder, pad, pick_dtype, token_batches
from pyterrier_saesplade.encoding.encoder import _ahead
from pyterrier_saesplade.errors import ModelError, SettingError
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.vectors import ConceptVectors

TEXTS = [
    "Sparse retrieval with concepts",
    "",
    None,
    "the quick brown fox jumps over the lazy dog " * 30,
    "naïve café — ☃ 東京",
    "   \n\t",
    "dog",
] + [f"text number {i} about " + "retrieval " * i for i in range(20)]


@pytest.fixture(scope="module")
def encoder(minilm_path: Path) -> Encoder:
    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(minilm_path, layer=2, width=2048, k=8, doc_max_length=64)
    return Encoder(model, tokenizer_of(minilm_path), precision="float32")


def tokenizer_of(path: Path) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def dense(vectors: ConceptVectors, width: int) -> np.ndarray:
    return vectors.to_csr(width).toarray()


def by_formula(encoder: Encoder, states: torch.Tensor) -> np.ndarray:
    """The dense vector of a text with these token states, in float32: the maximum over its tokens after TopK."""
    head = encoder.model.head
    with torch.no_grad():
        activations = (states - head.b_dec) @ head.W_enc.T + head.b_enc
        best = activations.topk(8)
        kept = torch.zeros_like(activations).scatter(1, best.indices, torch.relu(best.values))
        return torch.log1p(kept.amax(0) if len(kept) else activations.new_zeros(len(head.b_enc))).numpy()


def token_states(encoder: Encoder, texts: list[str | None]) -> list[np.ndarray]:
    return [encoded.states for encoded in encoder.encode_tokens(texts, side="doc")]


def largest_error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest distance between two states of a token, relative to the length of the expected state."""
    a, b = np.concatenate(found), np.concatenate(expected)
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max())


def test_a_vector_is_the_formula(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS[:1], side="doc")
    ids = encoder.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        states = encoder.model.backbone(**ids).last_hidden_state[0]
    np.testing.assert_allclose(dense(vectors, 2048)[0], by_formula(encoder, states), atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_other_texts_order_and_padding_change_only_the_rounding(encoder: Encoder, precision: str) -> None:
    encoder = Encoder(encoder.model, encoder.tokenizer, precision=precision)
    together = dense(encoder.encode(TEXTS, side="doc"), 2048)
    alone = np.concatenate([dense(encoder.encode([text], side="doc"), 2048) for text in TEXTS])
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = encoder.encode([TEXTS[i] for i in order], side="doc", batch_tokens=200)
    other = dense(shuffled.take(np.argsort(order)), 2048)
    for mine in (alone, other):
        np.testing.assert_allclose(mine, together, atol=1e-5 * together.max())


def test_other_texts_change_little_where_bfloat16_finds_the_strongest_token(splade_path: Path) -> None:
    encoder = Encoder.from_splade(splade_path, precision="float32")
    encoder.dtype = torch.bfloat16
    together = dense(encoder.encode(TEXTS, side="doc"), encoder.config.width)
    alone = np.concatenate([dense(encoder.encode([text], side="doc"), encoder.config.width) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=2**-6 * together.max())


def test_latents_found_in_bfloat16_are_those_of_float32(encoder: Encoder) -> None:
    half = Encoder(encoder.model, encoder.tokenizer, precision="float32")
    half.dtype = torch.bfloat16  # what "auto" is where the device has it
    a, b = (e.encode(TEXTS, side="doc") for e in (encoder, half))
    np.testing.assert_array_equal(a.latents, b.latents)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-5)


def test_splade_searched_in_bfloat16_stays_within_its_rounding(splade_path: Path) -> None:
    exact = Encoder.from_splade(splade_path, precision="float32")
    half = Encoder.from_splade(splade_path, precision="float32")
    half.dtype = torch.bfloat16
    a, b = (dense(e.encode(TEXTS, side="doc"), exact.config.width) for e in (exact, half))
    np.testing.assert_allclose(a, b, atol=2**-6 * a.max())


def test_only_the_backbone_rounds_to_bfloat16(encoder: Encoder) -> None:
    """Its states are near those of float32, in any batch, and the vectors are exactly those of the states."""
    half = Encoder(encoder.model, encoder.tokenizer, precision="bfloat16")
    states = token_states(half, TEXTS)
    assert 0 < largest_error(states, token_states(encoder, TEXTS)) < 2**-4
    assert largest_error([token_states(half, [text])[0] for text in TEXTS], states) < 2**-4
    expected = np.stack([by_formula(half, torch.from_numpy(each)) for each in states])
    np.testing.assert_allclose(dense(half.encode(TEXTS, side="doc"), 2048), expected, atol=1e-5)


def test_empty_texts_have_empty_vectors(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS, side="doc")
    sizes = np.diff(vectors.indptr)
    assert [i for i, size in enumerate(sizes) if size == 0] == [1, 2, 5]
    assert len(encoder.encode([], side="doc")) == 0
    assert len(encoder.encode([None, ""], side="query")) == 2


def test_rows_are_ascending_and_positive(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS, side="doc")
    assert vectors.weights.dtype == np.float32
    assert (vectors.weights > 0).all()
    for i in range(len(vectors)):
        assert (np.diff(vectors.row(i)[0]) > 0).all()


def test_positions_name_the_token_that_gave_the_weight(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS[:1], side="doc", positions=True)
    assert vectors.positions is not None
    ids = encoder.tokenizer(TEXTS[0], return_tensors="pt")
    head = encoder.model.head
    with torch.no_grad():
        activations = (encoder.model.backbone(**ids).last_hidden_state[0] - head.b_dec) @ head.W_enc.T + head.b_enc
    best = activations.topk(8)
    kept = torch.zeros_like(activations).scatter(1, best.indices, best.values)
    assert (kept.argmax(0)[vectors.latents].numpy() == vectors.positions).all()


def test_k_and_length_for_one_call(encoder: Encoder) -> None:
    few, many = (encoder.encode(TEXTS, side="doc", k=k) for k in (2, 16))
    assert len(few.latents) < len(many.latents)
    assert encoder.tokenize([TEXTS[3]], "doc", 10)[0] == [
        *encoder.tokenize([TEXTS[3]], "doc")[0][:9],
        encoder.tokenizer.sep_token_id,
    ]
    assert len(encoder.tokenize([TEXTS[3]], "doc")[0]) == 64
    assert len(encoder.tokenize([TEXTS[3]], "query")[0]) == 32
    with pytest.raises(SettingError, match=r"max_length .*\b3\b.*\b2\b"):
        encoder.encode(TEXTS, side="doc", max_length=2)


def test_a_length_that_the_backbone_cannot_read(encoder: Encoder) -> None:
    assert len(encoder.tokenize(["word " * 999], "doc", 512)[0]) == 512
    with pytest.raises(SettingError, match=r"max_length .*\b513\b.*\b512\b"):
        encoder.encode(["word"], side="doc", max_length=513)


def test_the_weights_of_a_saved_model_have_the_permissions_of_its_other_files(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "config.json").stat().st_mode


def test_a_model_with_missing_weights(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["head.b_enc"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"{tmp_path}.*head\.b_enc"):
        Encoder.from_pretrained(tmp_path)


def test_a_model_with_damaged_or_missing_files(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=str(tmp_path)):
        Encoder.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"{tmp_path}.*model\.safetensors"):
        Encoder.from_pretrained(tmp_path)


def test_a_long_query_is_cut_not_refused(encoder: Encoder) -> None:
    words = " ".join(f"word{i}" for i in range(10_000))
    assert 0 < len(encoder.encode([words], side="query").latents) <= 32 * 8


def test_markers_follow_cls_and_count_as_tokens(minilm_path: Path) -> None:
    model = SaeSpladeModel.from_backbone(minilm_path, width=64, markers=True, doc_max_length=16)
    encoder = Encoder(model, tokenizer_of(minilm_path))
    names = encoder.tokenizer.convert_ids_to_tokens
    assert names(encoder.tokenize(["dog"], "doc")[0]) == ["[CLS]", "[unused1]", "dog", "[SEP]"]
    assert names(encoder.tokenize(["dog"], "query")[0]) == ["[CLS]", "[unused0]", "dog", "[SEP]"]
    long = encoder.tokenize(["dog " * 99], "doc")[0]
    assert len(long) == 16
    assert names(long[-1:]) == ["[SEP]"]


def test_markers_missing_from_the_vocabulary(minilm_path: Path) -> None:
    model = SaeSpladeModel.from_backbone(minilm_path, width=64, markers=True, doc_marker="[nope]")
    with pytest.raises(SettingError, match=r"'\[nope\]'.*markers=False"):
        Encoder(model, tokenizer_of(minilm_path))


def test_saved_and_loaded_it_encodes_alike_with_the_same_fingerprint(encoder: Encoder, tmp_path: Path) -> None:
    before = encoder.fingerprint
    encoder.save_pretrained(tmp_path / "model")
    loaded = Encoder.from_pretrained(tmp_path / "model", precision="float32")
    assert loaded.fingerprint == encoder.fingerprint == before
    a, b = (e.encode(TEXTS, side="doc") for e in (encoder, loaded))
    assert np.array_equal(a.latents, b.latents)
    assert np.array_equal(a.weights, b.weights)


def test_the_same_bytes_twice(encoder: Encoder) -> None:
    a, b = (encoder.encode(TEXTS, side="doc") for _ in range(2))
    assert a.weights.tobytes() == b.weights.tobytes()
    assert a.latents.tobytes() == b.latents.tobytes()


def test_batches_hold_every_text_once_and_stay_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(0, 300, size=500)
    batches = list(token_batches(lengths, 1024))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(lengths[batch].max() * len(batch) <= 1024 for batch in batches)
    padding = sum(lengths[batch].max() * len(batch) for batch in batches) / lengths.sum()
    assert padding < 1.05


def test_precisions_by_name() -> None:
    assert pick_dtype("float32", torch.device("cpu")) is None
    assert pick_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    with pytest.raises(SettingError, match=r"precision .*'float16'"):
        pick_dtype("float16", torch.device("cpu"))


def test_work_ahead_keeps_its_order_and_its_errors() -> None:
    assert list(_ahead(lambda item: item * 2, range(5))) == [0, 2, 4, 6, 8]
    assert list(_ahead(lambda item: item, [])) == []
    results = _ahead(lambda item: 1 / item, [2, 0])
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_states_are_the_same_wherever_the_tokens_are_looked_up(encoder: Encoder) -> None:
    ids = encoder.tokenize(["a short text", "a text that is somewhat longer"], "doc")
    input_ids, mask = pad(ids, encoder.tokenizer.pad_token_id)
    with torch.inference_mode():
        assert torch.equal(encoder.token_states(ids), encoder.model.token_states(input_ids, mask))


def test_the_code_path_of_a_gpu_gives_the_same_vectors(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything except the copies to and from the device, which need a GPU."""
    expected = encoder.encode(TEXTS, side="doc")
    monkeypatch.setattr("pyterrier_saesplade.encoding.encoder.WINDOW", 8)
    monkeypatch.setattr(encoder, "device", SimpleNamespace(type="cuda"))
    monkeypatch.setattr(encoder, "_to_device", lambda tensor: tensor)
    found = encoder.encode(TEXTS, side="doc")
    np.testing.assert_array_equal(found.latents, expected.latents)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-4)
