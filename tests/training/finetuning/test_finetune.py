"""Fine-tuning from data to model: learning, resuming, several processes, and settings and data that do not fit."""

import dataclasses
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.torch import load_file

from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.errors import CollapsedError, EngineError, ModelError, PathExistsError, SettingError
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.training import FinetuneConfig, finetune
from pyterrier_saesplade.training.data import TrainingData, read_dataset, read_labels, read_triples
from pyterrier_saesplade.training.workdir import Run

CONFIG = FinetuneConfig(
    steps=20, batch_queries=4, nway=4, batch_tokens=256, dropout=0.0, log_steps=5, save_steps=4, precision="float32"
)

SCRIPT = """
import json, os, sys, torch
from pyterrier_saesplade.training import FinetuneConfig, finetune
from pyterrier_saesplade.training.data import read_dataset
torch.set_num_threads(1)
model, source, cache, out, settings = sys.argv[1:]
os.environ["HF_DATASETS_CACHE"] = cache
finetune(model, read_dataset(source), out, FinetuneConfig(**json.loads(settings)), device="cpu")
"""


@pytest.fixture(scope="module")
def labels(judged: Collection) -> TrainingData:
    return read_labels(judged, None)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def changed_parts(before: Path, after: Path) -> set[str]:
    """Returns which parts of a network differ, and which layers of its backbone."""
    one, other = weights(before), weights(after)
    names = {name for name in other if name not in one or not torch.equal(one[name], other[name])}
    layers = {f"layer {name.split('.layer.')[1].split('.')[0]}" for name in names if ".layer." in name}
    return {name.split(".")[0] for name in names} | layers


def log(folder: Path, name: str) -> list[float]:
    entries = json.loads((folder / "training.json").read_text())["log"]
    return [entry[name] for entry in entries if name in entry]


@pytest.mark.slow
def test_it_learns_and_reports_it(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, steps=60, learning_rate=3e-4, eval_steps=20, eval_queries=8, query_weights="learned"
    )
    out = finetune(pretrained_path, labels, tmp_path / "model", config)
    losses = log(out, "contrastive")
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert log(out, "kl") == log(out, "margin_mse") == [0.0] * len(losses)
    assert all(0 < value < 512 for value in log(out, "l0_doc") + log(out, "l0_query"))
    assert len(log(out, "eval_RR@10")) == 3
    assert all(0 < value <= 1 for value in log(out, "eval_RR@10") + log(out, "eval_nDCG@10"))
    card = (out / "README.md").read_text()
    assert "| 60 |" in card
    assert '"labels": "judged"' in card
    assert not (tmp_path / "model.run").exists()

    before, after = Encoder.from_pretrained(pretrained_path), Encoder.from_pretrained(out)
    assert (before.config.weighting, after.config.weighting) == ("idf", "none")
    assert after.config.query_weights
    assert not after.config.decoder
    assert after.fingerprint != before.fingerprint
    query = ["the number of elements in an array"]
    assert not np.array_equal(
        after.encode(query, side="query").weights, after.encode(query, side="doc", max_length=16).weights
    )
    assert changed_parts(pretrained_path, out) >= {"backbone", "head", "alpha", "query_weights"}


@pytest.mark.slow
def test_killed_anywhere_it_ends_with_the_same_weights(
    pretrained_path: Path,
    labels: TrainingData,
    tmp_path: Path,
    run_in_process: Callable[..., None],
    run_until: Callable[..., bool],
) -> None:
    """`kill -9` before, between and after checkpoints, with dropout and validations. Then the same call resumes."""
    config = dataclasses.replace(CONFIG, dropout=0.1, eval_steps=5, eval_pool=20, query_weights="learned", workers=1)
    run_in_process(finetune, pretrained_path, labels, tmp_path / "whole", config)
    out = tmp_path / "killed"
    call = (finetune, pretrained_path, labels, out, config)
    last = "checkpoints/checkpoint-20/trainer_state.json"
    milestones = ["negatives-0/description.json", "alpha.safetensors", "best-rr", "checkpoints/checkpoint-12", last]
    kills = sum(run_until(tmp_path / "killed.run" / milestone, *call) for milestone in milestones)
    assert kills >= 3
    if not out.exists():
        run_in_process(*call)
    for name in ("", "best-rr", "best-de"):
        killed, whole = (folder / name / "model.safetensors" for folder in (out, tmp_path / "whole"))
        assert killed.read_bytes() == whole.read_bytes()
    assert log(out, "eval_RR@10") == log(tmp_path / "whole", "eval_RR@10")
    assert not (tmp_path / "killed.run").exists()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    judged: Collection, pretrained_path: Path, tmp_path: Path, run_in_process: Callable[..., None]
) -> None:
    """Losses are computed over the whole batch. In-batch negatives, which differ between processes, are off.

    AdamW divides by the size of a gradient. Its usual epsilon would turn a gradient that is only rounding into a step.
    """
    source, script = tmp_path / "scored.jsonl", tmp_path / "finetune_script.py"
    scored_rows(judged).to_json(source)
    script.write_text(SCRIPT)
    losses = {"contrastive_weight": 0.5, "doc_flops": 0.5, "query_flops": 0.5, "flops_warmup_steps": 5}
    config = dataclasses.replace(CONFIG, log_steps=1, adam_epsilon=1e-5, **losses)  # type: ignore[arg-type]
    local = dataclasses.replace(config, batch_queries=2)
    for name, settings in (("one", config), ("half", local)):
        run_in_process(finetune, pretrained_path, read_dataset(source), tmp_path / name, settings)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    arguments = [script, pretrained_path, source, tmp_path / "cache", tmp_path / "two"]
    subprocess.run(
        [sys.executable, *launcher, *map(str, arguments), json.dumps(dataclasses.asdict(config))],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    for name in ("loss", "kl", "margin_mse", "contrastive", "doc_flops", "query_flops"):
        assert log(tmp_path / "one", name)[0] > 0
        np.testing.assert_allclose(log(tmp_path / "two", name), log(tmp_path / "one", name), rtol=2e-3)
    assert log(tmp_path / "half", "doc_flops")[0] > 1.05 * log(tmp_path / "one", "doc_flops")[0], "the test is blind"
    # Rounding may change which latents of a token are the strongest, so all that was learned is compared at once.
    names = sorted(weights(tmp_path / "one"))
    before, one, two, half = (
        torch.cat([weights(folder)[name].flatten() for name in names])
        for folder in (pretrained_path, *(tmp_path / name for name in ("one", "two", "half")))
    )
    assert (two - one).norm() < 0.01 * (one - before).norm()
    assert (half - one).norm() > 0.1 * (one - before).norm(), "the test is blind"


@pytest.mark.slow
def test_checkpointing_changes_memory_not_results(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=4, dropout=0.1)
    one = finetune(pretrained_path, labels, tmp_path / "one", config)
    other = finetune(
        pretrained_path, labels, tmp_path / "other", dataclasses.replace(config, gradient_checkpointing=True)
    )
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(other)[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"train": "head"}, {"head", "alpha"}),
        ({"train": 1}, {"backbone", "layer 1", "head", "alpha"}),
        ({"train": "lora", "lora_rank": 2}, {"backbone", "layer 0", "layer 1", "head", "alpha"}),
        ({"alpha_learning_rate": 0, "calibrate": False, "head_learning_rate": 0}, {"backbone", "layer 0", "layer 1"}),
        ({"train": "head", "query_weights": "idf"}, {"head", "alpha", "query_weights"}),
    ],
)
def test_what_is_trained(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, settings: dict[str, Any], changed: set[str]
) -> None:
    out = finetune(pretrained_path, labels, tmp_path / "model", dataclasses.replace(CONFIG, steps=3, **settings))
    assert changed_parts(pretrained_path, out) == changed
    assert len(Encoder.from_pretrained(out).encode(["a word"], side="doc").latents) > 0


@pytest.mark.slow
def test_a_frozen_backbone_trains_on_the_vectors_of_the_saved_model(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors made from stored token states are equal to those of the model's own encoder."""
    from pyterrier_saesplade.training.finetuning import finetune as module
    from pyterrier_saesplade.training.finetuning.ranker import Ranker

    trained: list[tuple[Ranker, dict[str, Any]]] = []
    namespace = sys.modules[module.__module__]
    monkeypatch.setattr(
        namespace,
        "finish",
        lambda trainer, *rest, finish=namespace.finish: (  # type: ignore[attr-defined]
            trained.append((trainer.module, trainer.batches[0])),
            finish(trainer, *rest),
        ),
    )
    config = dataclasses.replace(CONFIG, steps=4, train="head", in_batch_negatives=True)
    out = finetune(pretrained_path, labels, tmp_path / "model", config)
    ((ranker, batch),) = trained
    assert "states" in batch["documents"][0]
    encoder = Encoder.from_pretrained(out, precision="float32")
    data = TrainingData(labels.queries, labels.passages, labels.folder)
    with torch.no_grad():
        for side, groups, table in (
            ("query", batch["queries"], data.queries),
            ("doc", batch["documents"], data.passages),
        ):
            pooled, _ = ranker._vectors(groups)
            everything = encoder.encode(table.texts(range(len(table))), side=side)  # type: ignore[arg-type]
            for text in range(int(groups[0]["texts"].max()) + 1):
                of_text = pooled.texts == text
                latents, values = pooled.latents[of_text].numpy(), pooled.values[of_text].numpy()
                same = [i for i in range(len(table)) if np.array_equal(everything.row(i)[0], latents)]
                assert same
                assert min(np.abs(everything.row(i)[1] - values).max() for i in same) < 1e-5


@pytest.mark.slow
def test_a_splade_checkpoint_is_fine_tuned(splade_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    """The head of a masked language model, with and without TopK and markers. The bias on its input stays 0."""
    for name, settings in (("all", {}), ("top", {"k": 8, "markers": True, "doc_max_length": 32})):
        config = dataclasses.replace(CONFIG, steps=3, log_steps=1, **settings)  # type: ignore[arg-type]
        out = finetune(f"splade={splade_path}", labels, tmp_path / name, config)
        encoder = Encoder.from_pretrained(out)
        assert encoder.config.head == "mlm"
        assert encoder.config.k == config.k
        assert not encoder.model.head.b_dec.any()
        assert log(out, "kl") == [0.0] * 3
        assert len(encoder.encode(["a word"], side="query").latents) > 0


@pytest.mark.slow
def test_joint_training_keeps_reconstructing(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, reconstruction_weight=0.1, log_steps=1)
    out = finetune(pretrained_path, labels, tmp_path / "model", config)
    errors = log(out, "reconstruction")
    assert errors[-1] < errors[0]
    rows = Encoder.from_pretrained(out).model.head.dictionary
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    bare = finetune(pretrained_path, labels, tmp_path / "bare", dataclasses.replace(CONFIG, steps=1))
    with pytest.raises(ModelError, match="decoder"):
        finetune(bare, labels, tmp_path / "again", config)


def scored(judged: Collection, factor: float = 1.0) -> TrainingData:
    return read_dataset(scored_rows(judged, factor))


def scored_rows(judged: Collection, factor: float = 1.0) -> Dataset:
    """Returns every query with its document and three others, and scores that rank them."""
    texts = {document["docno"]: document["text"] for document in judged.get_corpus_iter()}
    positives = dict(zip(judged.qrels()["qid"], judged.qrels()["docno"], strict=True))
    others = list(texts.values())
    topics = judged.topics()
    negatives = [[others[(7 * i + j) % 160] for j in range(3)] for i in range(len(topics))]
    return Dataset.from_dict(
        {
            "query": topics["query"].tolist(),
            "positive": [texts[positives[qid]] for qid in topics["qid"]],
            "negatives": negatives,
            "scores": [[9.0 * factor, 3.0 * factor, 2.0 * factor, 1.0 * factor]] * len(topics),
        }
    )


@pytest.mark.slow
def test_a_teacher_is_imitated(
    pretrained_path: Path, judged: Collection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The student's scores start with the scale of the teacher's. Without that, the divergence is far larger."""
    data = scored(judged, factor=0.1)
    config = dataclasses.replace(CONFIG, log_steps=1)
    with caplog.at_level(logging.INFO):
        out = finetune(pretrained_path, data, tmp_path / "model", config)
    assert re.search(r"\b0\.311\b.*\balpha\b", caplog.text)  # the teacher's spread, and what follows from it
    assert log(out, "kl")[-1] < log(out, "kl")[0]
    assert log(out, "margin_mse")[-1] < log(out, "margin_mse")[0]
    assert log(out, "contrastive") == [0.0] * 20
    raw = finetune(pretrained_path, data, tmp_path / "raw", dataclasses.replace(config, steps=1, calibrate=False))
    assert log(raw, "alpha") == [1.0]
    assert log(raw, "kl")[0] > log(out, "kl")[0]


@pytest.mark.slow
def test_several_data_sets_are_taken_in_turn(pretrained_path: Path, judged: Collection, tmp_path: Path) -> None:
    data = [scored(judged), scored(judged, factor=2)]
    finetune(pretrained_path, data, tmp_path / "model", dataclasses.replace(CONFIG, steps=2))
    sources = json.loads((tmp_path / "model" / "training.json").read_text())["data"]
    assert len(sources) == 2
    with pytest.raises(SettingError, match="scores"):
        finetune(pretrained_path, [data[0], read_labels(judged, None)], tmp_path / "mixed", CONFIG)


def test_held_out_queries_are_not_trained_on(tmp_path: Path) -> None:
    """Several triples may have one query: all of them are held out together, and have several positives."""
    from pyterrier_saesplade.training.finetuning.finetune import _split

    (tmp_path / "passages.tsv").write_text("".join(f"p{i}\tpassage {i}\n" for i in range(60)))
    (tmp_path / "queries.tsv").write_text("".join(f"q{i}\tquery {i}\n" for i in range(20)))
    triples = [f"q{i} p{2 * i + j} p{(2 * i + 7) % 60}" for i in range(20) for j in range(2)]
    (tmp_path / "triples.tsv").write_text("\n".join(triples))
    data = read_triples(tmp_path / "triples.tsv", tmp_path / "passages.tsv", tmp_path / "queries.tsv")
    config = dataclasses.replace(CONFIG, nway=2, eval_steps=1, eval_pool=2)
    held_out, (source,) = _split([data], None, config)
    assert held_out is not None
    assert len(held_out.queries) == 2
    assert len(source.numbers) == 36
    trained = set(data.queries.texts([data[number].query for number in source.numbers]))
    assert not trained & set(held_out.queries)
    assert len(held_out.passages) == 6, "two positives and a negative for each query"
    whole, (everything,) = _split([data], data, config)
    assert whole is not None
    assert len(whole.queries) == 20
    assert len(everything.numbers) == 40


@pytest.mark.slow
def test_the_best_models_are_kept(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    """With a learning rate that ruins the model, the first model is the best. With patience, training stops early."""
    config = dataclasses.replace(
        CONFIG, learning_rate=0.02, head_learning_rate=0.02, eval_steps=2, steps=12, eval_queries=8, patience=2
    )
    stopped = finetune(pretrained_path, labels, tmp_path / "stopped", config)
    values = log(stopped, "eval_RR@10")
    best = int(np.argmax(values))
    assert len(values) == best + 3 < 6
    assert {path.name for path in stopped.iterdir() if path.is_dir()} == {"best-rr", "best-de"}
    chosen = finetune(pretrained_path, labels, tmp_path / "chosen", dataclasses.replace(config, use="best-rr"))
    assert {path.name for path in chosen.iterdir() if path.is_dir()} == {"last", "best-de"}
    for name, tensor in weights(chosen).items():
        assert torch.equal(tensor, weights(stopped / "best-rr")[name])
        assert torch.equal(weights(chosen / "last")[name], weights(stopped)[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"alpha_learning_rate": 1e30}, r"loss.*\bstep \d"),
        ({"learning_rate": 1e20}, r"passage.*\bstep 2\b.*doc_flops"),
    ],
)
def test_a_training_that_collapsed_is_stopped(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, settings: dict[str, Any], facts: str
) -> None:
    with pytest.raises(CollapsedError, match=facts):
        finetune(pretrained_path, labels, tmp_path / "model", dataclasses.replace(CONFIG, log_steps=1, **settings))
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_run_that_stopped_before_it_tidied_up(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "tidy", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune(pretrained_path, labels, tmp_path / "model", config)
    assert (tmp_path / "model.run").exists()
    assert finetune(pretrained_path, labels, tmp_path / "model", config) == tmp_path / "model"
    assert not (tmp_path / "model.run").exists()
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / "model"))):
        finetune(pretrained_path, labels, tmp_path / "model", config)


@pytest.mark.slow
def test_one_run_at_a_time(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=1)
    (tmp_path / "model.run").mkdir()
    run = Run(tmp_path / "model", {})
    work = re.escape(str(tmp_path / "model.run"))
    with run.held(0), pytest.raises(PathExistsError, match=work), run.held(0):
        pytest.fail("the folder was used twice")
    with pytest.raises(PathExistsError, match=work):  # it was begun with other settings
        finetune(pretrained_path, labels, tmp_path / "model", config)


def test_a_full_disk_is_an_error_that_the_user_can_fix(tmp_path: Path) -> None:
    run = Run(tmp_path / "model", {})
    with pytest.raises(EngineError, match=r"model\.run: No space left on device"), run.held(0):
        raise SafetensorError("No space left on device")


@pytest.mark.slow
def test_other_weights_are_another_run(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run does not resume when the model in the same folder was trained again."""
    start = shutil.copytree(pretrained_path, tmp_path / "start")
    config = dataclasses.replace(CONFIG, steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune(start, labels, tmp_path / "model", config)
    model = SaeSpladeModel.from_pretrained(start)
    model.alpha.data += 1
    model.save_pretrained(start)
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / "model.run"))):
        finetune(start, labels, tmp_path / "model", config)


@pytest.mark.slow
def test_the_first_latents_alone_can_be_trained(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    model = SaeSplade.from_pretrained(pretrained_path, width=128)
    tuned = model.finetune(labels, out=tmp_path / "model", config=dataclasses.replace(CONFIG, steps=1))
    assert tuned.width == 128
    with pytest.raises(SettingError, match="width"):
        finetune("splade=x", labels, tmp_path / "other", dataclasses.replace(CONFIG, width=128))


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"nway": 1}, ["nway", "2", "1"]),
        ({"train": 0}, ["train", "'all'", "'head'", "'lora'", "0"]),
        ({"train": "none"}, ["train", "'none'"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"query_weights": "bm25"}, ["query_weights", "'none'", "'idf'", "'learned'", "'bm25'"]),
        ({"patience": 2}, ["patience", "eval_steps"]),
        ({"use": "best-rr"}, ["use", "'best-rr'", "eval_steps"]),
        ({"use": "first"}, ["use", "'first'"]),
        ({"learning_rate": "2e-5"}, ["learning_rate", "'2e-5'"]),
        ({"train": "head", "reconstruction_weight": 1.0}, ["reconstruction_weight", "train='head'"]),
        ({"precision": "fp8"}, ["precision", "'fp8'"]),
        ({"calibrate": "false"}, ["calibrate", "'false'"]),
        ({"report_to": "tensorboard"}, ["report_to", "'tensorboard'"]),
        ({"query_marker": 7}, ["query_marker", "7"]),
        ({"learning_rate": float("nan")}, ["learning_rate", "nan"]),
    ],
)
def test_invalid_settings(settings: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(SettingError) as error:
        FinetuneConfig(**settings)
    assert all(fact in str(error.value) for fact in facts), error.value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"train": 9}, [r"\b2 layers", r"\b9\b"]),
        ({"k": 999}, [r"\bk\b", r"\b999\b"]),
        ({"nway": 200}, [r"\bnway\b", r"\b200\b"]),
        ({"precision": "float16"}, ["precision", "'float16'"]),
        ({"train": "head", "states_gigabytes": 1e-6}, ["states_gigabytes", r"\b0\.0 GB"]),
        ({"contrastive_weight": 0.0}, [r"\b0\b"]),
        ({"doc_max_length": 9999}, [r"\b9,?999\b"]),
    ],
)
def test_settings_that_do_not_fit_the_model_or_the_data(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, settings: dict[str, Any], facts: list[str]
) -> None:
    with pytest.raises(SettingError) as error:
        finetune(pretrained_path, labels, tmp_path / "model", dataclasses.replace(CONFIG, steps=1, **settings))
    assert all(re.search(fact, str(error.value)) for fact in facts), error.value


@pytest.mark.slow
def test_data_that_do_not_fit(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="data"):
        finetune(pretrained_path, [], tmp_path / "model", CONFIG)
    with pytest.raises(SettingError, match="eval_steps"):
        finetune(pretrained_path, labels, tmp_path / "model", CONFIG, validation=labels)
    rows = {"query": ["one", "two"], "positive": ["a", "b"], "negatives": [["c"], ["d", "e"]]}
    data = read_dataset(Dataset.from_dict(rows), on_error="raise")
    with pytest.raises(SettingError, match=r"\b1 quer.*\bnway\b.*\b3\b.*'one'"):
        finetune(pretrained_path, data, tmp_path / "model", dataclasses.replace(CONFIG, nway=3))
