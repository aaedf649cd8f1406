"""Pre-training from corpus to model: learning, resuming, several processes, and invalid settings."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.errors import DataError, PathExistsError, SettingError
from pyterrier_saesplade.training import FinetuneConfig, PretrainConfig, pretrain
from pyterrier_saesplade.training.pretraining import decode
from pyterrier_saesplade.training.workdir import Run

EXAMPLES = Path(__file__).parents[3] / "examples"
CONFIG = PretrainConfig(
    width=512, k=4, steps=24, batch_tokens=512, doc_max_length=32, log_steps=6, save_steps=5, precision="float32"
)

SCRIPT = """
import json, sys, torch
from pathlib import Path
from pyterrier_saesplade.training import PretrainConfig, pretrain
torch.set_num_threads(1)
backbone, corpus, out, settings = sys.argv[1:]
documents = [json.loads(line) for line in Path(corpus).open()]
pretrain(backbone, documents, out, PretrainConfig(**json.loads(settings)), device="cpu")
"""


@pytest.fixture(scope="module")
def corpus(documents: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "docs.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def command(splade_path: Path, corpus: Path, out: Path, config: PretrainConfig, *launcher: str) -> list[str]:
    settings = json.dumps(dataclasses.asdict(config))
    script = out.parent / "pretrain_script.py"
    script.write_text(SCRIPT)
    return [sys.executable, *launcher, str(script), str(splade_path), str(corpus), str(out), settings]


@pytest.mark.slow
def test_it_learns_and_reports_it(splade_path: Path, documents: list[dict[str, str]], tmp_path: Path) -> None:
    out = pretrain(splade_path, iter(documents), tmp_path / "model", CONFIG)
    report = json.loads((out / "training.json").read_text())
    assert report["settings"]["width"] == 512
    steps = [entry for entry in report["log"] if "loss" in entry]
    assert [entry["step"] for entry in steps] == [6, 12, 18, 24]
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert all(0 < entry["fvu"] < 1.5 and 0 <= entry["dead"] <= 1 and 0 < entry["l0_token"] <= 4 for entry in steps)
    final = next(entry for entry in report["log"] if "eval_fvu" in entry)
    assert final["eval_fvu"] < steps[0]["fvu"]
    counts = [final[f"eval_latents_df_{n}"] for n in (2, 8, 32, 128, 512)]
    assert counts == sorted(counts, reverse=True)
    assert 4 < final["eval_l0_text"] <= 4 * 32
    assert not (tmp_path / "model.run").exists()

    encoder = Encoder.from_pretrained(out)
    assert encoder.config.weighting == "idf"
    assert encoder.config.k == encoder.config.k_sae == 4
    assert encoder.model.head.W_dec is not None
    torch.testing.assert_close(encoder.model.head.W_dec.norm(dim=1), torch.ones(512))
    assert len(encoder.encode(["information retrieval"], side="query").latents) > 0


@pytest.fixture(scope="module")
def plain(splade_path: Path, documents: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A model after three steps with the settings of this file."""
    out = tmp_path_factory.mktemp("plain") / "model"
    return Encoder.from_pretrained(pretrain(splade_path, documents[:50], out, dataclasses.replace(CONFIG, steps=3)))


def layers(encoder: Encoder) -> set[str]:
    """The numbers of the backbone's layers."""
    return {name.split(".layer.")[1].split(".")[0] for name in encoder.model.state_dict() if ".layer." in name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "has_effect"),
    [
        # The bias starts at the mean state, or at zero.
        ({"init": "linear"}, lambda new, plain: new.model.head.b_dec.norm() < 0.1 * plain.model.head.b_dec.norm()),
        ({"layer": "h"}, lambda new, plain: new.config.layer == "h"),
        ({"layer": 1}, lambda new, plain: (layers(new), layers(plain)) == ({"0"}, {"0", "1"})),
        ({"input_norm": True}, lambda new, plain: new.config.input_norm and not plain.config.input_norm),
        ({"markers": True}, lambda new, plain: len(new.tokenize(["a"], "doc")[0]) == 4),  # [CLS] [marker] a [SEP]
        ({"batch_documents": 16}, None),
        ({"variant": "hierarchical"}, None),
        ({"variant": "matryoshka", "prefixes": [64, 512]}, None),
        ({"normalise_error": True}, None),
        ({"steps": 0, "init": "linear"}, lambda new, plain: not new.model.head.b_dec.any()),
    ],
)
def test_other_settings(
    splade_path: Path,
    documents: list[dict[str, str]],
    plain: Encoder,
    tmp_path: Path,
    changes: dict[str, object],
    has_effect: Callable[[Encoder, Encoder], bool] | None,
) -> None:
    """Each setting has its effect on the model, and changes what is learned."""
    config = dataclasses.replace(CONFIG, **({"steps": 3} | changes))
    encoder = Encoder.from_pretrained(pretrain(splade_path, documents[:50], tmp_path / "model", config))
    assert has_effect is None or has_effect(encoder, plain)
    assert not torch.allclose(encoder.model.head.W_enc, plain.model.head.W_enc, rtol=1e-3, atol=1e-5)
    ids = encoder.tokenize(["a word"], "doc")
    assert 0 < len(encoder.encode(["a word"], side="doc").latents) <= 4 * len(ids[0])
    if config.input_norm:
        norms = (encoder.token_states(encoder.tokenize([d["text"] for d in documents[:50]], "doc"))).norm(dim=1)
        assert 0.8 < norms.mean() < 1.2


@pytest.mark.slow
def test_queries_are_mixed_in(splade_path: Path, documents: list[dict[str, str]], tmp_path: Path) -> None:
    """They change what is learned. test_states.py tests that they are cut and marked as queries."""
    config = dataclasses.replace(CONFIG, steps=3, markers=True, query_max_length=8)
    queries = ["measurement of the dielectric constant of liquids by microwaves", " ", "noise in transistors"]
    mixed = pretrain(splade_path, documents[:20], tmp_path / "mixed", config, queries=queries)
    plain = pretrain(splade_path, documents[:20], tmp_path / "plain", config)
    assert (mixed / "model.safetensors").read_bytes() != (plain / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_the_variants_do_what_they_are_for(splade_path: Path, documents: list[dict[str, str]], tmp_path: Path) -> None:
    """They explain more than a plain SAE does with fewer latents per token, or with a prefix of the latents."""
    config = dataclasses.replace(CONFIG, steps=150, k=16, learning_rate=3e-3)
    texts = [document["text"] for document in documents[:100]]
    unexplained = {}
    for variant in ("topk", "hierarchical", "matryoshka"):
        out = pretrain(splade_path, documents, tmp_path / variant, dataclasses.replace(config, variant=variant))
        encoder = Encoder.from_pretrained(out, precision="float32")
        states = torch.cat([encoder.token_states([ids]) for ids in encoder.tokenize(texts, "doc")])
        for name, k, width in (("k", 2, 512), ("prefix", 16, 48)):
            encoder = Encoder.from_pretrained(out, width=width, precision="float32")
            head = encoder.model.head
            values, latents = head(states, k)
            rebuilt = head.b_dec + decode(values, latents, head.dictionary)
            error = (states - rebuilt).square().sum() / (states - states.mean(0)).square().sum()
            unexplained[variant, name] = float(error)
    assert unexplained["hierarchical", "k"] < unexplained["topk", "k"]
    assert unexplained["matryoshka", "prefix"] < unexplained["topk", "prefix"]


@pytest.mark.slow
def test_killed_anywhere_it_ends_with_the_same_weights(
    splade_path: Path,
    documents: list[dict[str, str]],
    tmp_path: Path,
    run_in_process: Callable[..., None],
    run_until: Callable[..., bool],
) -> None:
    """`kill -9` while encoding, and before and after checkpoints. Each time the same command resumes."""
    run_in_process(pretrain, splade_path, documents, tmp_path / "whole", CONFIG)
    out = tmp_path / "killed"
    call = (pretrain, splade_path, documents, out, CONFIG)
    last = "checkpoints/checkpoint-24/trainer_state.json"
    milestones = ["texts.arrow", "states-0/block-0.json", "checkpoints/checkpoint-5", "checkpoints/checkpoint-15", last]
    kills = 0
    for milestone in milestones:
        kills += run_until(tmp_path / "killed.run" / milestone, *call)
        assert not out.exists() or milestone == milestones[-1]
    assert kills >= 3
    if not out.exists():
        run_in_process(*call)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert not (tmp_path / "killed.run").exists()


@pytest.mark.slow
def test_two_processes(splade_path: Path, corpus: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone")
    subprocess.run(
        command(splade_path, corpus, tmp_path / "model", CONFIG, *launcher),
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    log = json.loads((tmp_path / "model" / "training.json").read_text())["log"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0]
    assert len(Encoder.from_pretrained(tmp_path / "model").encode(["a word"], side="doc").latents) > 0
    assert not (tmp_path / "model.run").exists()


@pytest.mark.slow
def test_an_existing_model_is_not_overwritten(splade_path: Path, tmp_path: Path) -> None:
    def never_read() -> object:
        pytest.fail("the corpus was read")
        yield

    (tmp_path / "model").mkdir()
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / "model"))):
        pretrain(splade_path, never_read(), tmp_path / "model", CONFIG)


@pytest.mark.slow
def test_a_run_with_all_steps_done_takes_no_more_steps(
    splade_path: Path, documents: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops after the last checkpoint and before the model is in place, and once more before it has tidied up."""
    from pyterrier_saesplade.training.pretraining import pretrain as module

    config = dataclasses.replace(CONFIG, steps=4, schedule="constant")
    whole = pretrain(splade_path, documents[:40], tmp_path / "whole", config)
    out = tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[module.__module__], "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pretrain(splade_path, documents[:40], out, config)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "tidy", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pretrain(splade_path, documents[:40], out, config)
    assert out.exists()
    assert (tmp_path / "model.run").exists()
    assert pretrain(splade_path, documents[:40], out, config) == out
    assert not (tmp_path / "model.run").exists()
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_folder_of_something_else_is_not_changed(splade_path: Path, tmp_path: Path) -> None:
    (tmp_path / "model.run").mkdir()
    (tmp_path / "model.run" / "bm25.trec").write_text("mine")
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / "model.run"))):
        pretrain(splade_path, [{"text": "a"}], tmp_path / "model", CONFIG)
    assert (tmp_path / "model.run" / "bm25.trec").read_text() == "mine"


@pytest.mark.slow
def test_an_unfinished_run_with_other_settings_is_not_overwritten(
    splade_path: Path, documents: list[dict[str, str]], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="corpus"):
        pretrain(splade_path, [], tmp_path / "model", CONFIG)
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / "model.run"))):
        pretrain(splade_path, documents, tmp_path / "model", dataclasses.replace(CONFIG, k=2))
    pretrain(splade_path, documents[:20], tmp_path / "model", CONFIG)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"k": 0}, ["k", "0"]),
        ({"k": 9, "width": 8}, ["k", "width", "8", "9"]),
        ({"steps": -1}, ["steps", "-1"]),
        ({"steps": "many"}, ["steps", "'many'"]),
        ({"learning_rate": "5e-5"}, ["learning_rate", "'5e-5'"]),
        ({"states_gigabytes": -1}, ["states_gigabytes", "-1"]),
        ({"layer": "first"}, ["layer", "'last'", "'h'", "'first'"]),
        ({"precision": "fp8"}, ["precision", "'auto'", "'float32'", "'bfloat16'", "'fp8'"]),
        ({"init": "zeros"}, ["init", "'zeros'"]),
        ({"schedule": "cosine"}, ["schedule", "'cosine'"]),
        ({"batch_documents": 0}, ["batch_documents", "0"]),
        ({"variant": "relu"}, ["variant", "'topk'", "'hierarchical'", "'matryoshka'", "'relu'"]),
        ({"prefixes": [8, 16384]}, ["prefixes", "'matryoshka'", "'topk'"]),
        ({"variant": "matryoshka", "prefixes": [8, 99]}, ["prefixes", "16384", "[8, 99]"]),
        ({"variant": "matryoshka", "prefixes": [99, 8, 16384]}, ["prefixes", "[99, 8, 16384]"]),
    ],
)
def test_invalid_settings(settings: dict[str, object], facts: list[str]) -> None:
    with pytest.raises(SettingError) as error:
        PretrainConfig(**settings)
    assert all(fact in str(error.value) for fact in facts), error.value


def test_laptop_yaml_has_the_default_settings() -> None:
    assert PretrainConfig.from_yaml(EXAMPLES / "laptop.yaml") == PretrainConfig()
    assert FinetuneConfig.from_yaml(EXAMPLES / "laptop.yaml") == FinetuneConfig()


def test_main_yaml_has_the_numbers_of_the_paper() -> None:
    config = PretrainConfig.from_yaml(EXAMPLES / "paper" / "main.yaml")
    assert (config.width, config.k, config.batch_documents, config.doc_max_length) == (2**16, 8, 768, 256)
    assert (config.steps, config.warmup_steps, config.learning_rate) == (400 * 400, 10_000, 5e-5)
    assert (config.adam_epsilon, config.weight_decay, config.max_grad_norm) == (6e-10, 0.01, 1.0)
    assert (config.aux_weight, config.dead_after, config.init, config.markers) == (1 / 16, 10_000_000, "linear", True)
    assert PretrainConfig.from_yaml(EXAMPLES / "paper" / "main.yaml", steps=3).steps == 3


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("pretrain:\n  widht: 3\n", ["widht", "width"]),
        ("a: [", ["YAML"]),
        ("", []),
        ("width: 3", ["width"]),
        ("pretrain: 3", ["pretrain", "3"]),
        ("finetune: {}", ["pretrain:"]),
        ("base: 3", ["base", "3"]),
        ("base: other.yaml\npretrain: {k: 3}", ["base", "other.yaml"]),  # whose base is the first file
    ],
)
def test_malformed_files_of_settings(text: str, facts: list[str], tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("base: one.yaml")
    with pytest.raises(SettingError) as error:
        PretrainConfig.from_yaml(tmp_path / "one.yaml")
    assert str(tmp_path / "one.yaml") in str(error.value)
    message = str(error.value).replace(str(tmp_path), "")
    assert all(fact in message for fact in facts), message
