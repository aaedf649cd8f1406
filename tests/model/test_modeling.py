"""The model: layers, heads, saving and loading."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

from pyterrier_saesplade.errors import ModelError, SettingError
from pyterrier_saesplade.model import SaeSpladeConfig, SaeSpladeModel, tokenizer_digest, weights_digest

TEXTS = ["hello world", "a rather longer text about information retrieval", "x"]


@pytest.fixture(scope="module")
def batch(minilm_path: Path) -> dict[str, torch.Tensor]:
    encoding = AutoTokenizer.from_pretrained(minilm_path)(TEXTS, padding=True, return_tensors="pt")
    return {name: encoding[name] for name in ("input_ids", "attention_mask")}


def test_token_states_are_those_of_the_backbone_without_padding(
    minilm_path: Path, batch: dict[str, torch.Tensor]
) -> None:
    model = SaeSpladeModel.from_backbone(minilm_path, width=64).eval()
    reference = AutoModel.from_pretrained(minilm_path).eval()
    with torch.no_grad():
        expected = reference(**batch).last_hidden_state[batch["attention_mask"].bool()]
        assert torch.equal(model.token_states(**batch), expected)


@pytest.mark.parametrize("layer", [1, 3, 6])
def test_layers_above_are_dropped(minilm_path: Path, batch: dict[str, torch.Tensor], layer: int) -> None:
    model = SaeSpladeModel.from_backbone(minilm_path, width=64, layer=layer).eval()
    reference = AutoModel.from_pretrained(minilm_path).eval()
    with torch.no_grad():
        states = reference(**batch, output_hidden_states=True).hidden_states[layer]
        torch.testing.assert_close(model.token_states(**batch), states[batch["attention_mask"].bool()])
    assert len(model.backbone.encoder.layer) == layer


@pytest.mark.parametrize("layer", [0, 7])
def test_a_missing_layer_is_an_error(minilm_path: Path, layer: int) -> None:
    with pytest.raises(SettingError, match=rf"\b1\b.*\b6\b.*\b{layer}\b"):
        SaeSpladeModel.from_backbone(minilm_path, width=64, layer=layer)


def test_layer_h_is_the_transform_of_the_language_model(splade_path: Path, batch: dict[str, torch.Tensor]) -> None:
    model = SaeSpladeModel.from_backbone(splade_path, width=64, layer="h").eval()
    reference = AutoModelForMaskedLM.from_pretrained(splade_path).eval()
    with torch.no_grad():
        last = reference.bert(**batch).last_hidden_state
        expected = reference.cls.predictions.transform(last)[batch["attention_mask"].bool()]
        torch.testing.assert_close(model.token_states(**batch), expected)


def test_a_backbone_without_a_language_model_head_has_no_layer_h(minilm_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{minilm_path}.*cls\.predictions\.bias"):
        SaeSpladeModel.from_backbone(minilm_path, width=64, layer="h")


@pytest.mark.parametrize("layer", ["last", 2, "h"])
@pytest.mark.parametrize("input_norm", [False, True])
def test_a_saved_model_loads_unchanged(
    splade_path: Path, tmp_path: Path, batch: dict[str, torch.Tensor], layer: str | int, input_norm: bool
) -> None:
    model = SaeSpladeModel.from_backbone(splade_path, width=64, k=4, layer=layer, input_norm=input_norm, decoder=True)
    if input_norm:
        model.mean_bias.normal_()
        model.mean_norm.fill_(2.5)
    model.alpha.data.fill_(0.7)
    model.eval().save_pretrained(tmp_path / "model")
    loaded = AutoModel.from_pretrained(tmp_path / "model").eval()

    assert type(loaded) is SaeSpladeModel
    assert type(AutoConfig.from_pretrained(tmp_path / "model")) is SaeSpladeConfig
    assert loaded.config.weights_digest == weights_digest(loaded) == weights_digest(model)
    with torch.no_grad():
        for mine, theirs in zip(model(**batch), loaded(**batch), strict=True):
            assert torch.equal(mine, theirs)
    assert not list((tmp_path / "model").glob("*.bin"))
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert "head.W_enc" in file.keys()  # noqa: SIM118


def test_input_norm_is_undone_when_pooled(splade_path: Path, batch: dict[str, torch.Tensor]) -> None:
    model = SaeSpladeModel.from_backbone(splade_path, width=64, k=4, input_norm=True).eval()
    model.mean_norm.fill_(4.0)
    with torch.no_grad():
        scaled = model(**batch)
        values = model.head.pool(model.token_states(**batch), [0, *batch["attention_mask"].sum(1).cumsum(0)], 4).values
    torch.testing.assert_close(scaled.values, torch.log1p(4.0 * values))


def test_splade_is_the_same_model_with_another_head(splade_path: Path, batch: dict[str, torch.Tensor]) -> None:
    model = SaeSpladeModel.from_splade(splade_path).eval()
    reference = AutoModelForMaskedLM.from_pretrained(splade_path).eval()
    with torch.no_grad():
        logits = torch.relu(reference(**batch).logits) * batch["attention_mask"].unsqueeze(2)
        expected = torch.log1p(logits.amax(1))
        pooled = model(**batch)
    rows = torch.zeros_like(expected)
    rows[pooled.texts, pooled.latents] = pooled.values
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)


def test_k_of_one_call(minilm_path: Path, batch: dict[str, torch.Tensor]) -> None:
    model = SaeSpladeModel.from_backbone(minilm_path, width=64, k=2).eval()
    with torch.no_grad():
        two, eight, again = model(**batch), model(**batch, k=8), model(**batch)
    assert len(eight.values) > len(two.values)
    assert torch.equal(two.values, again.values)
    assert model.config.k == 2
    with pytest.raises(SettingError, match=r"\bk\b.*\b1\b.*\b64\b.*\b65\b"):
        model(**batch, k=65)


def test_digests_distinguish_models(splade_path: Path) -> None:
    torch.manual_seed(0)
    model = SaeSpladeModel.from_backbone(splade_path, width=64, decoder=True)
    before = weights_digest(model)
    model.head.W_dec.data += 1  # the decoder has no part in a text's vector
    assert weights_digest(model) == before
    model.head.b_enc.data[3] += 1e-6
    assert weights_digest(model) != before


def test_the_digest_of_the_tokenizer_ignores_truncation(splade_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(splade_path)
    before = tokenizer_digest(tokenizer)
    tokenizer(TEXTS, truncation=True, max_length=4, padding=True)
    assert tokenizer_digest(tokenizer) == before
    tokenizer.add_tokens(["zzzz"])
    assert tokenizer_digest(tokenizer) != before


def test_fingerprint_covers_document_settings_only() -> None:
    config = SaeSpladeConfig(weights_digest="w", tokenizer_digest="t", k=8, query_max_length=32)
    assert (
        config.fingerprint()
        == SaeSpladeConfig(weights_digest="w", tokenizer_digest="t", query_max_length=64).fingerprint()
    )
    assert config.fingerprint() != config.fingerprint(k=16)
    assert config.fingerprint(doc_max_length=256) == config.fingerprint()
    with pytest.raises(ModelError, match="digest"):
        SaeSpladeConfig().fingerprint()
