"""Queries from a table: searched as those of the model, and nearly as well."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade import InferenceFree, SaeSplade, open_collection

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


def test_a_word_lights_what_it_lights_in_the_documents(model: SaeSplade, fast: InferenceFree) -> None:
    tokens = next(model.encode_tokens(["music of the spheres"]))
    music = tokens.pieces.tolist().index(model.pieces(["music"])[0][1])
    for mine, expected in zip(fast.encode(["music"], "query").row(0), tokens.vectors.row(music), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-5)


def test_documents_are_those_of_the_model_and_so_are_its_indexes(
    model: SaeSplade, fast: InferenceFree, tmp_path: Path
) -> None:
    texts = [document["text"] for document in DOCUMENTS]
    np.testing.assert_array_equal(fast.encode(texts).weights, model.encode(texts).weights)
    index = model.indexer(tmp_path / "index").index(DOCUMENTS)
    assert fast.retriever(index).search("spheres")["docno"][0] == "2"


def test_empty_queries_and_those_of_unseen_words_are_empty(fast: InferenceFree) -> None:
    vectors = fast.encode([None, "", "  ", "zebra", "music"], "query")
    assert [len(vectors.row(i)[0]) > 0 for i in range(5)] == [False, False, False, False, True]


def test_it_is_a_stage_as_any(fast: InferenceFree) -> None:
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
    with pytest.raises(FileExistsError):
        fast.save(tmp_path / "table.npz")
    with pytest.raises(ValueError, match="another model"):
        InferenceFree.load(tmp_path / "table.npz", model.replace(k=2))


def test_what_cannot_be_done_is_said(model: SaeSplade, fast: InferenceFree) -> None:
    with pytest.raises(ValueError, match="k does not apply"):
        fast.encode(["music"], "query", k=2)
    with pytest.raises(ValueError, match="no document has a text"):
        model.inference_free([{"docno": "1", "text": " "}])
    with pytest.raises(ValueError, match="has no 'body'"):
        model.inference_free(DOCUMENTS, text_field="body")


def test_a_real_model_loses_little(splade_path: Path, tmp_path: Path) -> None:
    """SPLADE on the docstrings: without the context of a query's words, most of the first hits stay."""
    splade = SaeSplade.from_splade(splade_path)
    collection = open_collection("docstrings")
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
