"""The settings of the paper's experiments: every number, and that each file runs."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.training import FinetuneConfig, PretrainConfig, finetune, pretrain
from pyterrier_saesplade.training.data import TrainingData, read_distillation

PAPER = Path(__file__).parents[2] / "examples" / "paper"
FILES = sorted(path.stem for path in PAPER.glob("*.yaml"))
#: Files that start from a SPLADE checkpoint or a masked language model, without pre-training.
SPLADE = [name for name in FILES if "splade" in name]


def settings(name: str) -> tuple[PretrainConfig, FinetuneConfig]:
    path = PAPER / f"{name}.yaml"
    return PretrainConfig.from_yaml(path), FinetuneConfig.from_yaml(path)


def differences(name: str) -> dict[str, Any]:
    """Returns the settings that a file changes in the main one. Those of pre-training come first."""
    found: dict[str, Any] = {}
    for stage, mine, main in zip(("pretrain", "finetune"), settings(name), settings("main"), strict=True):
        for setting in mine.__dataclass_fields__:
            if getattr(mine, setting) != getattr(main, setting):
                found[f"{stage}.{setting}"] = getattr(mine, setting)
    return found


def test_the_main_model() -> None:
    """Markers, lengths, width and k; the two schedules and their losses."""
    pre, fine = settings("main")
    assert (pre.width, pre.k, pre.variant, pre.layer, pre.init) == (2**16, 8, "topk", "last", "linear")
    assert (pre.markers, pre.query_marker, pre.doc_marker) == (True, "[unused0]", "[unused1]")
    assert (pre.doc_max_length, pre.query_max_length, pre.input_norm, pre.normalise_error) == (256, 32, False, False)
    assert (pre.steps, pre.batch_documents, pre.warmup_steps, pre.schedule) == (400 * 400, 768, 10_000, "constant")
    assert (pre.learning_rate, pre.adam_epsilon, pre.weight_decay, pre.max_grad_norm) == (5e-5, 6e-10, 0.01, 1.0)
    assert (pre.aux_weight, pre.dead_after) == (1 / 16, 10_000_000)

    assert (fine.k, fine.nway, fine.batch_queries, fine.train, fine.query_weights) == (8, 8, 32, "all", "none")
    assert (fine.kl_weight, fine.margin_mse_weight, fine.doc_flops, fine.query_flops) == (1.0, 0.05, 0.04, 0.06)
    assert (fine.contrastive_weight, fine.in_batch_negatives, fine.reconstruction_weight) == (0.0, False, 0.0)
    assert (fine.steps, fine.warmup_steps, fine.schedule, fine.flops_warmup_steps) == (
        600 * 400,
        10_000,
        "linear",
        6000,
    )
    assert fine.learning_rate == fine.head_learning_rate == fine.alpha_learning_rate == 2e-5
    assert (fine.adam_epsilon, fine.weight_decay, fine.max_grad_norm) == (1e-8, 0.01, 1.0)
    assert (fine.eval_queries, fine.eval_steps, fine.use) == (1000, 20 * 400, "last")
    assert (fine.calibrate, fine.alpha, fine.dropout) == (False, None, None)


LOW, HIGH = (
    {"finetune.doc_flops": 0.01, "finetune.query_flops": 0.015},
    {
        "finetune.doc_flops": 0.12,
        "finetune.query_flops": 0.18,
    },
)
MARKERS = {"pretrain.query_marker": "[unused1]", "pretrain.doc_marker": "[unused2]"}
LENGTHS = {"finetune.markers": True, "finetune.doc_max_length": 256, "finetune.query_max_length": 32}
SPLADE_MARKERS = {"finetune.query_marker": "[unused1]", "finetune.doc_marker": "[unused2]"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"k{k}", {"pretrain.k": k, "finetune.k": k}) for k in (4, 16)),
        *((f"k{k}-lambda-low", LOW | {"pretrain.k": k, "finetune.k": k}) for k in (4, 16)),
        *((f"k{k}-lambda-high", HIGH | {"pretrain.k": k, "finetune.k": k}) for k in (4, 16)),
        ("k8-lambda-low", LOW),
        ("k8-lambda-high", HIGH),
        *((f"width-{width}", {"pretrain.width": width}) for width in (2**15, 2**17)),
        *((f"layer-{layer}", {"pretrain.layer": layer}) for layer in (3, 4, 5, "h")),
        ("input-norm", {"pretrain.input_norm": True}),
        *(
            (f"htopk32-{k}", {"pretrain.variant": "hierarchical", "pretrain.k": 32, "finetune.k": k})
            for k in (2, 4, 16, 32)
        ),
        ("htopk32-8", {"pretrain.variant": "hierarchical", "pretrain.k": 32}),
        ("htopk32-all", {"pretrain.variant": "hierarchical", "pretrain.k": 32, "finetune.k": 2**16}),
        *(
            (f"htopk128-{k}", {"pretrain.variant": "hierarchical", "pretrain.k": 128, "finetune.k": k})
            for k in (4, 16)
        ),
        ("htopk128-8", {"pretrain.variant": "hierarchical", "pretrain.k": 128}),
        (
            "mtopk",
            {
                "pretrain.variant": "matryoshka",
                "pretrain.k": 32,
                "pretrain.prefixes": [2048, 6144, 14336, 30720, 65536],
            },
        ),
        ("random-last", {"pretrain.steps": 0}),
        ("random-h", {"pretrain.steps": 0, "pretrain.layer": "h"}),
        ("random-all", {"pretrain.steps": 0, "finetune.k": 2**16}),
        ("random-h-all", {"pretrain.steps": 0, "pretrain.layer": "h", "finetune.k": 2**16}),
        ("joint", {"finetune.reconstruction_weight": 0.01}),
        ("splade", LENGTHS | {"finetune.k": None}),
        ("splade-k8", LENGTHS),
        ("splade-bert", LENGTHS | {"finetune.k": None, "finetune.flops_warmup_steps": 30_000}),
        ("multilingual", MARKERS | LOW),
        *(
            (f"multilingual-lambda-{doc}", MARKERS | {"finetune.doc_flops": doc, "finetune.query_flops": query})
            for doc, query in ((0.004, 0.006), (0.02, 0.03))
        ),
        ("multilingual-lambda-0.04", MARKERS),
        ("multilingual-splade-k8", LENGTHS | SPLADE_MARKERS),
        ("multilingual-splade", LENGTHS | SPLADE_MARKERS | {"finetune.k": None, "finetune.alpha": 0.8}),
    ],
)  # fmt: skip
def test_what_each_ablation_changes(name: str, expected: dict[str, Any]) -> None:
    assert differences(name) == expected


def test_no_file_is_left_out() -> None:
    (mark,) = test_what_each_ablation_changes.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in mark.args[1]} | {"main"} == set(FILES)


def test_default_cuts_are_the_papers() -> None:
    assert PretrainConfig(width=2**16, variant="matryoshka").cuts == (2048, 6144, 14336, 30720, 65536)


@pytest.fixture(scope="module")
def tiny_path(splade_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random masked language model of six layers and 16 dimensions, with a real tokenizer."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(splade_path)
    size = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def distillation(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """One line per query: its document and nine others, with scores."""
    docnos = [document["docno"] for document in collection.get_corpus_iter()]
    qrels = collection.qrels()
    lines = [
        [qid, [docno, 9.0], *([other, float(i)] for i, other in enumerate(docnos[100:109]))]
        for qid, docno in zip(qrels["qid"], qrels["docno"], strict=True)
    ]
    file = tmp_path_factory.mktemp("data") / "examples.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return read_distillation(file, collection, collection)


@pytest.fixture(scope="module")
def pretrained(
    tiny_path: Path, collection: Collection, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[PretrainConfig], Path]:
    """Pre-trains the tiny model. Equal settings give the same folder: many files differ in fine-tuning only."""
    documents = list(itertools.islice(collection.get_corpus_iter(), 40))
    folder = tmp_path_factory.mktemp("saes")
    made: dict[str, Path] = {}

    def make(config: PretrainConfig) -> Path:
        key = json.dumps(dataclasses.asdict(config))
        if key not in made:
            made[key] = pretrain(tiny_path, documents, folder / str(len(made)), config)
        return made[key]

    return make


@pytest.fixture(scope="module")
def finetuned(
    distillation: TrainingData, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path | str, FinetuneConfig], Path]:
    """Fine-tunes a model. The same model and equal settings give the same folder."""
    folder = tmp_path_factory.mktemp("tuned")
    made: dict[str, Path] = {}

    def make(model: Path | str, config: FinetuneConfig) -> Path:
        key = f"{model} {json.dumps(dataclasses.asdict(config))}"
        if key not in made:
            made[key] = finetune(model, distillation, folder / str(len(made)), config)
        return made[key]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_each_file_runs(
    name: str,
    tiny_path: Path,
    pretrained: Callable[[PretrainConfig], Path],
    finetuned: Callable[[Path | str, FinetuneConfig], Path],
) -> None:
    """Three steps of both stages, with small values for everything that makes the paper's runs long."""
    pre, fine = settings(name)
    few = {"steps": min(pre.steps, 3), "batch_documents": 8, "width": 256, "prefixes": None, "eval_steps": 0}
    model = f"splade={tiny_path}" if name in SPLADE else pretrained(pre.changed(few, where="test"))
    few = {"steps": 3, "batch_queries": 4, "eval_steps": 3, "eval_queries": 5, "eval_pool": 20, "workers": 0}
    few |= {"k": 256} if fine.k == 2**16 else {}
    encoder = Encoder.from_pretrained(finetuned(model, fine.changed(few, where="test")))
    assert encoder.config.k == (256 if fine.k == 2**16 else fine.k)
    assert encoder.config.markers
    assert len(encoder.encode(["a word"], side="doc").latents) > 0
