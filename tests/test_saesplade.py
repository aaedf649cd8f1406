"""The model as a PyTerrier user sees it."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import torch
from datasets import Dataset
from ir_measures import R
from transformers import AutoModel, AutoTokenizer

from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.errors import ModelError, ModelMismatchError, PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.training import FinetuneConfig, PretrainConfig
from pyterrier_saesplade.training.data import read_dataset

DOCUMENTS = [
    {"docno": str(i), "text": text}
    for i, text in enumerate(
        [
            "sparse retrieval with an inverted index",
            "an autoencoder learns sparse concepts",
            "pasta is cooked in boiling water",
            "the orchestra plays music by Mahler",
            "a symphony for a large orchestra",
            "boiled eggs and other easy dishes",
        ]
        * 4
    )
]


@pytest.fixture(scope="module")
def model(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> SaeSplade:
    """A model with a random head."""
    torch.manual_seed(0)
    network = SaeSpladeModel.from_backbone(minilm_path, width=64, k=4, weighting="idf")
    out = tmp_path_factory.mktemp("models") / "random"
    Encoder(network, AutoTokenizer.from_pretrained(minilm_path)).save_pretrained(out)
    return SaeSplade.from_pretrained(out)


@pytest.mark.slow
def test_from_pretraining_to_an_experiment(minilm_path: Path, tmp_path: Path) -> None:
    config = PretrainConfig(batch_tokens=64, precision="float32")
    out = tmp_path / "model"
    model = SaeSplade.pretrain(minilm_path, iter(DOCUMENTS), out=out, width=64, k=4, steps=2, config=config)
    index = model.indexer(tmp_path / "index").index(DOCUMENTS)
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["symphony orchestra", "how to boil pasta"]})
    qrels = pd.DataFrame({"qid": ["1", "2"], "docno": ["4", "2"], "label": [1, 1]})
    table = pt.Experiment([model.retriever(index)], topics, qrels, [R @ 24, "mrt"], validate="error")
    assert table["R@24"].tolist() == [1.0]
    staged = (model.query_encoder() >> index.retriever(num_results=5))(topics)
    pd.testing.assert_frame_equal(staged, model.retriever(index, 5)(topics))
    assert (model.width, model.k, model.weighting) == (64, None, "idf")
    assert model.terms.name(63) == "c63"


@pytest.mark.slow
def test_pretraining_without_a_folder_and_with_settings(minilm_path: Path) -> None:
    model = SaeSplade.pretrain(minilm_path, DOCUMENTS, width=32, k=2, doc_max_length=16, steps=1, seed=7)
    assert (model.width, model.weighting) == (32, "idf")
    assert len(model.encode(["boiling water"]).row(0)[0]) >= 1
    with pytest.raises(SettingError, match=r"\bk\b.*\b8\b.*\b9\b"):
        SaeSplade.pretrain(minilm_path, DOCUMENTS, width=8, k=9)


def test_a_model_is_lazy_and_picklable(model: SaeSplade, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((Path(model.source) / "config.json").read_bytes())
    bare = SaeSplade.from_pretrained(tmp_path)  # no weights there
    assert bare.fingerprint == model.fingerprint
    assert bare.width == 64
    assert bare == SaeSplade.from_pretrained(model.source)
    with pytest.raises(ModelError, match=r"model\.safetensors|no file named"):
        bare.encode(["a text"])
    loaded = SaeSplade.from_pretrained(model.source)
    loaded.encode(["a text"])
    assert len(pickle.dumps(loaded)) < 20_000
    copy = pickle.loads(pickle.dumps(loaded))
    assert copy == loaded
    assert hash(copy) == hash(loaded)
    np.testing.assert_array_equal(copy.encode(["a text"]).weights, loaded.encode(["a text"]).weights)


def test_settings_decide_equality_and_those_of_documents_the_fingerprint(model: SaeSplade) -> None:
    def opened(**settings: int) -> SaeSplade:
        return SaeSplade.from_pretrained(model.source, **settings)

    assert opened() == opened()
    assert opened(k=2) != opened()
    assert opened(k=2).fingerprint != opened().fingerprint
    assert opened(doc_max_length=16).fingerprint != opened().fingerprint
    assert opened(query_max_length=16) != opened()
    assert opened(query_max_length=16).fingerprint == opened().fingerprint
    assert repr(opened(k=2)) == f"SaeSplade.from_pretrained({model.source!r}, k=2)"
    assert opened(k=1).encode(["a text"]).indptr[-1] < opened(k=8).encode(["a text"]).indptr[-1]


def test_saving_keeps_the_settings(model: SaeSplade, tmp_path: Path) -> None:
    changed = SaeSplade.from_pretrained(model.source, k=2, doc_max_length=16, query_max_length=8)
    changed.save_pretrained(tmp_path / "saved")
    saved = SaeSplade.from_pretrained(tmp_path / "saved")
    assert saved.fingerprint == changed.fingerprint != model.fingerprint
    for side in ("doc", "query"):
        one, other = (opened.encode(["the orchestra plays " * 20], side) for opened in (saved, changed))
        np.testing.assert_array_equal(one.latents, other.latents)
        np.testing.assert_array_equal(one.weights, other.weights)
    with pytest.raises(PathExistsError, match=str(tmp_path / "saved")):
        changed.save_pretrained(tmp_path / "saved")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]
    assert AutoModel.from_pretrained(tmp_path / "saved").config.k == 2


def test_an_index_is_searched_with_the_model_that_built_it(model: SaeSplade, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    for other in (
        SaeSplade.from_pretrained(model.source, k=2),
        SaeSplade.from_pretrained(model.source, doc_max_length=8),
    ):
        mine, theirs = model.fingerprint[:8], other.fingerprint[:8]
        with pytest.raises(ModelMismatchError, match=f"{index.path}.*{mine}.*{theirs}.*k and doc_max_length"):
            other.retriever(index)
        with pytest.raises(ModelMismatchError, match=f"{index.path}.*{mine}.*{theirs}"):
            other.scorer(statistics=index)
        with pytest.raises(ModelMismatchError, match=f"queries .*{theirs}.*{index.path}.*{mine}"):
            (other.query_encoder() >> index.retriever())(pd.DataFrame([{"qid": "1", "query": "orchestra"}]))
    shorter = SaeSplade.from_pretrained(model.source, query_max_length=8)
    assert len(shorter.retriever(index)([{"qid": "1", "query": "orchestra"}])) > 0


def test_models_with_different_queries_differ_although_fingerprints_are_equal(model: SaeSplade, tmp_path: Path) -> None:
    same = SaeSplade.from_pretrained(shutil.copytree(model.source, tmp_path / "same"))
    assert same == model
    changes = {"query_max_length": 7, "query_marker": "[unused5]", "weighting": "none"}
    for name, value in changes.items():
        folder = shutil.copytree(model.source, tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {name: value}))
        changed = SaeSplade.from_pretrained(folder)
        assert changed.fingerprint == model.fingerprint
        assert changed != model


def test_the_fingerprint_of_a_model_and_tokenizer_saved_separately(model: SaeSplade, tmp_path: Path) -> None:
    SaeSpladeModel.from_pretrained(model.source).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model.source).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tokenizer_digest": ""}))
    assert SaeSplade.from_pretrained(tmp_path).fingerprint == model.fingerprint


@pytest.mark.slow
def test_finetuning(model: SaeSplade, tmp_path: Path) -> None:
    """The new model has the settings of the old one, which stays as it is."""
    data = read_dataset(
        Dataset.from_dict(
            {
                "query": ["Mahler symphony", "how to boil pasta", "sparse concepts"],
                "positive": [DOCUMENTS[i]["text"] for i in (4, 2, 1)],
                "negative": [DOCUMENTS[i]["text"] for i in (2, 1, 5)],
            }
        )
    )
    opened = SaeSplade.from_pretrained(model.source, k=2, doc_max_length=16)
    before = opened.fingerprint
    config = FinetuneConfig(steps=2, batch_queries=2, nway=2, precision="float32")
    tuned = opened.finetune(data, out=tmp_path / "tuned", config=config)
    assert opened.fingerprint == before != tuned.fingerprint
    assert (model.weighting, tuned.weighting) == ("idf", "none")
    saved = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert (saved["k"], saved["doc_max_length"]) == (2, 16)
    index = tuned.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    assert len(tuned.retriever(index)([{"qid": "1", "query": "orchestra"}])) > 0
    with pytest.raises(PathExistsError, match=str(tmp_path / "tuned")):
        opened.finetune(data, out=tmp_path / "tuned", config=config)


def test_the_first_latents_form_a_model(model: SaeSplade, tmp_path: Path) -> None:
    narrow = SaeSplade.from_pretrained(model.source, width=32)
    assert narrow.width == 32
    assert narrow != model
    assert narrow.fingerprint != model.fingerprint
    assert repr(narrow) == f"SaeSplade.from_pretrained({model.source!r}, width=32)"
    assert narrow.encode(["the orchestra plays"]).latents.max() < 32
    index = narrow.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    assert len(index.statistics.df) == 32
    assert len(narrow.retriever(index)([{"qid": "1", "query": "orchestra"}])) > 0
    narrow.save_pretrained(tmp_path / "saved")
    assert SaeSplade.from_pretrained(tmp_path / "saved").width == 32
    with pytest.raises(SettingError, match=r"width .*\b1\b.*\b64\b.*\b65\b"):
        SaeSplade.from_pretrained(model.source, width=65)


def test_splade_checkpoints(splade_path: Path, model: SaeSplade, tmp_path: Path) -> None:
    splade = SaeSplade.from_splade(splade_path)
    assert repr(splade) == f"SaeSplade.from_splade({str(splade_path)!r})"
    toks = splade.doc_encoder(scale=None)([{"docno": "1", "text": "the orchestra plays"}])[0]["toks"]
    assert toks["orchestra"] == max(toks.values())
    assert splade.weighting == "none"
    assert splade != model
    splade.save_pretrained(tmp_path / "saved")
    saved = SaeSplade.from_pretrained(tmp_path / "saved")
    assert saved.fingerprint == splade.fingerprint
    assert saved.terms.latent("orchestra") == splade.terms.latent("orchestra")
    with pytest.raises(ModelError, match=rf"{splade_path}.*'bert'.*\bSaeSplade\.from_splade\b"):
        SaeSplade.from_pretrained(splade_path)
    with pytest.raises(ModelError, match=rf"{model.source}.*'saesplade'.*\bSaeSplade\.from_pretrained\b"):
        SaeSplade.from_splade(model.source)
    with pytest.raises(SettingError, match="width"):
        SaeSplade.from_splade(splade_path, width=8)


@pytest.mark.parametrize(
    ("columns", "role"),
    [
        (["qid", "query"], "query_encoder"),
        (["docno", "text"], "doc_encoder"),
        (["qid", "query", "docno", "score", "rank", "text"], "scorer"),
        (["qid", "query", "text"], "scorer"),
        (["qid", "query", "toks"], "scorer"),
        (["qid", "query_toks", "docno", "toks"], "scorer"),
        (["text"], "doc_encoder"),
    ],
)
def test_the_columns_decide_the_role(
    model: SaeSplade, columns: list[str], role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query and a document in a row are scored, with or without a docno."""
    roles: list[str] = []
    for name in ("query_encoder", "doc_encoder", "scorer"):
        monkeypatch.setattr(SaeSplade, name, lambda self, name=name: roles.append(name) or pt.Transformer.identity())
    model(pd.DataFrame([dict.fromkeys(columns, "1")]))
    assert roles == [role]


def test_invalid_settings_are_refused_at_once(model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "missing")):
        SaeSplade.from_pretrained(tmp_path / "missing")
    with pytest.raises(SettingError, match=r"\bk\b.*\b0\b"):
        SaeSplade.from_pretrained(model.source, k=0)
    with pytest.raises(SettingError, match=r"\bk\b.*\b1\b.*\b64\b.*\b65\b"):
        SaeSplade.from_pretrained(model.source, k=65)
    with pytest.raises(SettingError, match=r"side .*'doc'.*'query'.*'passage'"):
        model.encode(["a text"], "passage")
