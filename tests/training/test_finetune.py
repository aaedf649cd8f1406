"""Fine-tuning from data to model: what it learns, that it resumes, how it scales, what it refuses."""

import dataclasses
import functools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
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
from pyterrier_saesplade.training.data import read_dataset, read_labels
torch.set_num_threads(1)
model, source, cache, out, settings = sys.argv[1:]
os.environ["HF_DATASETS_CACHE"] = cache
data = read_dataset(source) if source.endswith(".jsonl") else read_labels(source, None)
finetune(model, data, out, FinetuneConfig(**json.loads(settings)), device="cpu")
"""


@pytest.fixture(scope="module")
def labels(judged: Collection) -> TrainingData:
    return read_labels(judged, None)


@pytest.fixture
def in_a_process(judged: Collection, pretrained_path: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The command that fine-tunes in a process of its own, or several."""
    script = tmp_path / "finetune_script.py"
    script.write_text(SCRIPT)

    def command(out: Path, config: FinetuneConfig, *launcher: str, source: Path | None = None) -> list[str]:
        settings = json.dumps(dataclasses.asdict(config))
        folder = judged.folder  # type: ignore[attr-defined]
        arguments = [pretrained_path, source or folder, tmp_path / "cache", out]
        return [sys.executable, *launcher, str(script), *map(str, arguments), settings]

    return command


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def changed_parts(before: Path, after: Path) -> set[str]:
    """Which parts of a network differ: of the backbone, its layers by number, too."""
    one, other = weights(before), weights(after)
    names = {name for name in other if name not in one or not torch.equal(one[name], other[name])}
    layers = {f"layer {name.split('.layer.')[1].split('.')[0]}" for name in names if ".layer." in name}
    return {name.split(".")[0] for name in names} | layers


def log(folder: Path, name: str) -> list[float]:
    entries = json.loads((folder / "training.json").read_text())["log"]
    return [entry[name] for entry in entries if name in entry]


def test_it_learns_and_says_so(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
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


def test_killed_anywhere_it_ends_with_the_same_weights(in_a_process: Callable[..., list[str]], tmp_path: Path) -> None:
    """`kill -9` before, between and after checkpoints, with dropout and validations; then the same command again."""
    config = dataclasses.replace(CONFIG, dropout=0.1, eval_steps=5, eval_pool=20, query_weights="learned", workers=1)
    subprocess.run(in_a_process(tmp_path / "whole", config), check=True)
    out = tmp_path / "killed"
    last = "checkpoints/checkpoint-20/trainer_state.json"
    milestones = ["negatives-0/description.json", "alpha.safetensors", "best-rr", "checkpoints/checkpoint-12", last]
    kills = 0
    for milestone in milestones:
        process = subprocess.Popen(in_a_process(out, config), start_new_session=True)
        while process.poll() is None and not (tmp_path / "killed.run" / milestone).exists():
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 3
    if not out.exists():
        subprocess.run(in_a_process(out, config), check=True)
    for name in ("", "best-rr", "best-de"):
        killed, whole = (folder / name / "model.safetensors" for folder in (out, tmp_path / "whole"))
        assert killed.read_bytes() == whole.read_bytes()
    assert log(out, "eval_RR@10") == log(tmp_path / "whole", "eval_RR@10")
    assert not (tmp_path / "killed.run").exists()


def test_two_processes_learn_what_one_does(
    in_a_process: Callable[..., list[str]], judged: Collection, pretrained_path: Path, tmp_path: Path
) -> None:
    """All losses are those of the whole batch; in-batch negatives, which are a process's own, are off.

    AdamW divides by the size of a gradient: of one that is rounding and no more, its usual epsilon would make a step.
    """
    scored_rows(judged).to_json(tmp_path / "scored.jsonl")
    run = functools.partial(in_a_process, source=tmp_path / "scored.jsonl")
    losses = {"contrastive_weight": 0.5, "doc_flops": 0.5, "query_flops": 0.5, "flops_warmup_steps": 5}
    config = dataclasses.replace(CONFIG, log_steps=1, adam_epsilon=1e-5, **losses)  # type: ignore[arg-type]
    subprocess.run(run(tmp_path / "one", config), check=True)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(run(tmp_path / "two", config, *launcher), check=True, env=environment)
    for name in ("loss", "kl", "margin_mse", "contrastive", "doc_flops", "query_flops"):
        assert log(tmp_path / "one", name)[0] > 0
        np.testing.assert_allclose(log(tmp_path / "two", name), log(tmp_path / "one", name), rtol=2e-3)
    local = dataclasses.replace(config, batch_queries=2)
    subprocess.run(run(tmp_path / "half", local), check=True)
    assert log(tmp_path / "half", "doc_flops")[0] > 1.05 * log(tmp_path / "one", "doc_flops")[0], "the test is blind"
    # A token's latents may differ where rounding decides which are the strongest: so all that was learned is compared.
    names = sorted(weights(tmp_path / "one"))
    before, one, two, half = (
        torch.cat([weights(folder)[name].flatten() for name in names])
        for folder in (pretrained_path, *(tmp_path / name for name in ("one", "two", "half")))
    )
    assert (two - one).norm() < 0.01 * (one - before).norm()
    assert (half - one).norm() > 0.1 * (one - before).norm(), "the test is blind"


def test_checkpointing_changes_memory_not_results(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=4, dropout=0.1)
    one = finetune(pretrained_path, labels, tmp_path / "one", config)
    other = finetune(
        pretrained_path, labels, tmp_path / "other", dataclasses.replace(config, gradient_checkpointing=True)
    )
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(other)[name], tensor, rtol=1e-5, atol=1e-6)


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


def test_a_frozen_backbone_gives_what_the_saved_model_computes(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vectors that were trained on, against those of the model's own encoder."""
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


def test_splade_by_the_same_code(splade_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    """The head of a masked language model, with and without TopK, with markers; its own bias on the input stays 0."""
    for name, settings in (("all", {}), ("top", {"k": 8, "markers": True, "doc_max_length": 32})):
        config = dataclasses.replace(CONFIG, steps=3, log_steps=1, **settings)  # type: ignore[arg-type]
        out = finetune(f"splade={splade_path}", labels, tmp_path / name, config)
        encoder = Encoder.from_pretrained(out)
        assert encoder.config.head == "mlm"
        assert encoder.config.k == config.k
        assert not encoder.model.head.b_dec.any()
        assert log(out, "kl") == [0.0] * 3
        assert len(encoder.encode(["a word"], side="query").latents) > 0


def test_joint_training_keeps_reconstructing(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, reconstruction_weight=0.1, log_steps=1)
    out = finetune(pretrained_path, labels, tmp_path / "model", config)
    errors = log(out, "reconstruction")
    assert errors[-1] < errors[0]
    rows = Encoder.from_pretrained(out).model.head.dictionary
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    with pytest.raises(ValueError, match="without its SAE's decoder"):
        finetune(finetune(pretrained_path, labels, tmp_path / "bare", dataclasses.replace(CONFIG, steps=1)), labels,
                 tmp_path / "again", config)  # fmt: skip


def scored(judged: Collection, factor: float = 1.0) -> TrainingData:
    return read_dataset(scored_rows(judged, factor))


def scored_rows(judged: Collection, factor: float = 1.0) -> Dataset:
    """Every query with its document and three others, and scores that decide between them."""
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


def test_a_teacher_is_imitated(
    pretrained_path: Path, judged: Collection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The scale of scores begins as the teacher's: with alpha as it was, the divergence is far larger."""
    data = scored(judged, factor=0.1)
    config = dataclasses.replace(CONFIG, log_steps=1)
    with caplog.at_level(logging.INFO):
        out = finetune(pretrained_path, data, tmp_path / "model", config)
    assert "and should by 0.311: alpha is now" in caplog.text
    assert log(out, "kl")[-1] < log(out, "kl")[0]
    assert log(out, "margin_mse")[-1] < log(out, "margin_mse")[0]
    assert log(out, "contrastive") == [0.0] * 20
    raw = finetune(pretrained_path, data, tmp_path / "raw", dataclasses.replace(config, steps=1, calibrate=False))
    assert log(raw, "alpha") == [1.0]
    assert log(raw, "kl")[0] > log(out, "kl")[0]


def test_several_data_sets_are_taken_in_turn(pretrained_path: Path, judged: Collection, tmp_path: Path) -> None:
    data = [scored(judged), scored(judged, factor=2)]
    finetune(pretrained_path, data, tmp_path / "model", dataclasses.replace(CONFIG, steps=2))
    sources = json.loads((tmp_path / "model" / "training.json").read_text())["data"]
    assert len(sources) == 2
    with pytest.raises(ValueError, match="all have a teacher's scores or that all have none"):
        finetune(pretrained_path, [data[0], read_labels(judged, None)], tmp_path / "mixed", CONFIG)


def test_no_query_that_is_held_out_is_trained_on(pretrained_path: Path, tmp_path: Path) -> None:
    """Of triples, many are of one query: all go one way, and their positives are answers to one query."""
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
    assert len(held_out.passages) == 6, "of each query two positives and a negative"
    whole, (everything,) = _split([data], data, config)
    assert whole is not None
    assert len(whole.queries) == 20
    assert len(everything.numbers) == 40


def test_the_best_models_are_kept(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    """A rate that ruins the model: the best is the first; with patience training stops soon after it."""
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha_learning_rate": 1e30}, r"the loss is no finite number at step \d+: lower the learning rates"),
        ({"learning_rate": 1e20},
         r"no latent is active in any passage at step 2: lower doc_flops, or lower the learning rates"),
    ],
)  # fmt: skip
def test_training_that_went_wrong_is_stopped(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(pretrained_path, labels, tmp_path / "model", dataclasses.replace(CONFIG, log_steps=1, **settings))
    assert not (tmp_path / "model").exists()


def test_stopped_before_tidying_up(
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
    with pytest.raises(FileExistsError, match="choose another folder"):
        finetune(pretrained_path, labels, tmp_path / "model", config)


def test_one_run_at_a_time(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=1)
    (tmp_path / "model.run").mkdir()
    run = Run(tmp_path / "model", {})
    with run.held(0), pytest.raises(FileExistsError, match="is in use: the same training runs in another process"), \
         run.held(0):  # fmt: skip
        pass
    with pytest.raises(FileExistsError, match="unfinished work with other settings"):
        finetune(pretrained_path, labels, tmp_path / "model", config)


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    run = Run(tmp_path / "model", {})
    with pytest.raises(OSError, match=r"model\.run: No space left.*; the same call goes on"), run.held(0):
        raise SafetensorError("No space left on device")


def test_other_weights_are_another_run(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that was trained anew, in the same folder, does not go on with what was computed with the old one."""
    start = shutil.copytree(pretrained_path, tmp_path / "start")
    config = dataclasses.replace(CONFIG, steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune(start, labels, tmp_path / "model", config)
    model = SaeSpladeModel.from_pretrained(start)
    model.alpha.data += 1
    model.save_pretrained(start)
    with pytest.raises(FileExistsError, match="unfinished work with other settings"):
        finetune(start, labels, tmp_path / "model", config)


def test_first_latents_alone_can_be_trained(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    model = SaeSplade.from_pretrained(pretrained_path, width=128)
    tuned = model.finetune(labels, out=tmp_path / "model", config=dataclasses.replace(CONFIG, steps=1))
    assert tuned.width == 128
    with pytest.raises(ValueError, match="width is that of a Matryoshka dictionary"):
        finetune("splade=x", labels, tmp_path / "other", dataclasses.replace(CONFIG, width=128))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nway": 1}, "nway must be greater than or equal to 2"),
        ({"train": 0}, "train must be greater than 0, or 'all', 'head' or 'lora'"),
        ({"train": "none"}, "train must be"),
        ({"dropout": 1.0}, "dropout must be less than 1"),
        ({"query_weights": "bm25"}, "query_weights must be 'none', 'idf' or 'learned'"),
        ({"patience": 2}, "patience counts validations"),
        ({"use": "best-rr"}, "needs validations"),
        ({"use": "first"}, "use must be"),
        ({"learning_rate": "2e-5"}, "learning_rate must be a number"),
        ({"train": "head", "reconstruction_weight": 1.0}, "joint training .* needs a backbone"),
        ({"precision": "fp8"}, "precision must be"),
        ({"calibrate": "false"}, "calibrate must be true or false"),
        ({"report_to": "tensorboard"}, "report_to must be a list, not 'tensorboard'"),
        ({"query_marker": 7}, "query_marker must be a string"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FinetuneConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": 9}, "this backbone has 2 layers: the last 9 cannot be trained"),
        ({"k": 999}, "k must be between 1 and the width"),
        ({"nway": 200}, "no query has 200 passages"),
        ({"precision": "float16"}, "precision 'float16' is for GPUs"),
        ({"train": "head", "states_gigabytes": 1e-6}, "more than the 0.0 GB that states_gigabytes allows"),
        ({"contrastive_weight": 0.0}, "there is nothing to learn"),
        ({"doc_max_length": 9999}, "beyond the backbone"),
    ],
)
def test_settings_that_do_not_fit(
    pretrained_path: Path, labels: TrainingData, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(pretrained_path, labels, tmp_path / "model", dataclasses.replace(CONFIG, steps=1, **settings))


def test_data_that_does_not_fit(pretrained_path: Path, labels: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give data sets, one at least"):
        finetune(pretrained_path, [], tmp_path / "model", CONFIG)
    with pytest.raises(ValueError, match="and no validations: set eval_steps too"):
        finetune(pretrained_path, labels, tmp_path / "model", CONFIG, validation=labels)
    rows = {"query": ["one", "two"], "positive": ["a", "b"], "negatives": [["c"], ["d", "e"]]}
    data = read_dataset(Dataset.from_dict(rows), on_error="raise")
    with pytest.raises(ValueError, match=r"1 queries with fewer than nway \(3\) passages, such as 'one'"):
        finetune(pretrained_path, data, tmp_path / "model", dataclasses.replace(CONFIG, nway=3))
