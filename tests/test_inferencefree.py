"""Queries from a table: they are searched like queries of the model, with nearly the same results."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from transformers import AutoTokenizer

from pyterrier_saesplade import InferenceFree, SaeSplade, open_collection
from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.errors import DataError, ModelMismatchError, PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.model import SaeSpladeModel

DOCUMENTS = [
    {"docno": "1", "text": "sparse autoencoders learn concepts"},
    {"docno": "2", "text": "music of the spheres"},
    {"docno": "3", "text": None},
]


@pytest.fixture(scope="module")
def model(random_model_path: Path) -> SaeSplade:
    return SaeSplade.from_pretrained(random_model_path, precision="float32")


@pytest.fixture(scope="module")
def fast(model: SaeSplade) -> InferenceFree:
    return model.inference_free(DOCUMENTS)


def test_a_word_activates_the_latents_that_it_activates_in_the_documents(model: SaeSplade, fast: InferenceFree) -> None:
    tokens = next(model.encode_tokens(["music of the spheres"]))
    music = tokens.token_ids.tolist().index(model.token_ids(["music"])[0][1])
    for mine, expected in zip(fast.encode(["music"], "query").row(0), tokens.vectors.row(music), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-5)


@pytest.mark.slow
def test_documents_and_indexes_are_those_of_the_model(model: SaeSplade, fast: InferenceFree, tmp_path: Path) -> None:
    texts = [document["text"] for document in DOCUMENTS]
    np.testing.assert_array_equal(fast.encode(texts).weights, model.encode(texts).weights)
    index = model.indexer(tmp_path / "index").index(DOCUMENTS)
    assert fast.retriever(index).search("spheres")["docno"][0] == "2"


def test_queries_without_known_words_are_empty(fast: InferenceFree) -> None:
    vectors = fast.encode([None, "", "  ", "zebra", "music"], "query")
    assert [len(vectors.row(i)[0]) > 0 for i in range(5)] == [False, False, False, False, True]


def test_its_query_encoder(fast: InferenceFree) -> None:
    stage = fast.query_encoder()
    assert stage(pd.DataFrame({"qid": ["1"], "query": ["music"]}))["query_toks"][0]
    assert len(stage(pd.DataFrame(columns=["qid", "query"]))) == 0
    assert pt.inspect.transformer_outputs(stage, ["qid", "query"]) == ["qid", "query", "query_toks"]


def test_saved_loaded_pickled_and_equal(model: SaeSplade, fast: InferenceFree, tmp_path: Path) -> None:
    fast.save(tmp_path / "table.npz")
    loaded = InferenceFree.load(tmp_path / "table.npz", model)
    assert loaded == fast == pickle.loads(pickle.dumps(fast))
    assert hash(loaded) == hash(fast)
    assert fast != model.inference_free(DOCUMENTS, latents=1)
    with pytest.raises(PathExistsError, match=str(tmp_path / "table.npz")):
        fast.save(tmp_path / "table.npz")
    other = model.replace(k=2)
    expected = rf"{tmp_path}/table\.npz.*{model.fingerprint[:8]}.*{other.fingerprint[:8]}"
    with pytest.raises(ModelMismatchError, match=expected):
        InferenceFree.load(tmp_path / "table.npz", other)


def test_queries_need_no_weights(model: SaeSplade, fast: InferenceFree, tmp_path: Path) -> None:
    fast.save(tmp_path / "table.npz")
    unloaded = SaeSplade.from_pretrained(model.source, precision="float32")
    found = InferenceFree.load(tmp_path / "table.npz", unloaded).encode(["music"], "query")
    assert "_encoder" not in unloaded.__dict__
    np.testing.assert_array_equal(found.weights, fast.encode(["music"], "query").weights)


def test_markers_activate_nothing(minilm_path: Path, tmp_path: Path) -> None:
    network = SaeSpladeModel.from_backbone(minilm_path, width=2048, k=8, markers=True)
    Encoder(network, AutoTokenizer.from_pretrained(minilm_path)).save_pretrained(tmp_path / "model")
    marked = SaeSplade.from_pretrained(tmp_path / "model")
    fast = marked.inference_free(DOCUMENTS)
    assert not fast.encode(["zebra"], "query").latents.size
    assert fast.encode(["music"], "query").latents.size


def test_it_works_with_an_idf_index_a_scorer_and_in_an_experiment(
    model: SaeSplade, fast: InferenceFree, tmp_path: Path
) -> None:
    index = model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["spheres", "concepts"]})
    qrels = pd.DataFrame({"qid": ["1", "2"], "docno": ["2", "1"], "label": [1, 1]})
    table = pt.Experiment([fast.retriever(index), fast.retriever(index)], topics, qrels, ["map"])
    assert table["map"].tolist() == [1, 1]
    texts = pd.DataFrame(DOCUMENTS[:2]).assign(qid="1", query="spheres")
    assert fast.scorer(statistics=index)(texts).sort_values("rank")["docno"].tolist() == ["2", "1"]


def test_missing_texts_and_collections(model: SaeSplade, fast: InferenceFree, tmp_path: Path) -> None:
    assert model.inference_free([*DOCUMENTS, {"docno": "4", "text": float("nan")}]) == fast
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "docs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS[:2]))
    assert model.inference_free(tmp_path / "folder") == fast


def test_invalid_files_settings_and_documents(model: SaeSplade, fast: InferenceFree, tmp_path: Path) -> None:
    (tmp_path / "table.npz").write_text("no table")
    with pytest.raises(DataError, match=str(tmp_path / "table.npz")):
        InferenceFree.load(tmp_path / "table.npz", model)
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "absent.npz")):
        InferenceFree.load(tmp_path / "absent.npz", model)
    with pytest.raises(SettingError, match=r"\bk\b"):
        fast.encode(["music"], "query", k=2)
    with pytest.raises(DataError, match="'text'"):
        model.inference_free([{"docno": "1", "text": " "}])
    with pytest.raises(DataError, match=r"'1'.*'body'"):
        model.inference_free(DOCUMENTS, text_field="body")


@pytest.mark.slow
def test_a_trained_model_loses_little(splade_path: Path, docstrings_path: Path, tmp_path: Path) -> None:
    """SPLADE on docstrings: without the context of the query's words, most of the first hits are still found."""
    splade = SaeSplade.from_splade(splade_path)
    collection = open_collection(docstrings_path)
    documents = [document for document, _ in zip(collection.get_corpus_iter(), range(300), strict=False)]
    index = splade.indexer(tmp_path / "index", "exact").index(documents)
    fast = splade.inference_free(documents, latents=32)
    queries = pd.DataFrame(
        {"qid": [str(i) for i in range(40)], "query": [" ".join(each["text"].split()[:8]) for each in documents[:40]]}
    )
    full, quick = (each.retriever(index, 10)(queries) for each in (splade, fast))
    found = sum(
        bool(set(full[full["qid"] == qid]["docno"][:1]) & set(quick[quick["qid"] == qid]["docno"]))
        for qid in queries["qid"]
    )
    assert found >= 32
