"""Stores: what they hold, how encoding resumes, and what is built from them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyterrier as pt
import pytest

from pyterrier_saesplade import Quantizer
from pyterrier_saesplade.engines import ConceptIndexer
from pyterrier_saesplade.errors import (
    DataError,
    ModelMismatchError,
    PathExistsError,
    PathNotFoundError,
    SettingError,
)
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import ConceptStore, StoredVectors, encode_corpus, encode_topics, read_queries

from .conftest import SmallCorpus

TOPICS = pd.DataFrame({"qid": ["q1", "q2", "q3"], "query": ["sparse latent", "", "東京 token rank"]})


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


@pytest.fixture
def store(model: SaeSplade, corpus: SmallCorpus, tmp_path: Path) -> StoredVectors:
    encoded = encode_corpus(model, corpus, tmp_path / "store", part_documents=20)
    assert encoded is not None
    return encoded


def test_pandas_alone_reads_it(model: SaeSplade, corpus: SmallCorpus, store: StoredVectors) -> None:
    """Docnos are in order, latents and weights are those of the model, and the files record the model."""
    frame = pd.read_parquet(store.folder / "part-00000.parquet")
    frame = pd.concat([frame, *(pd.read_parquet(store.folder / f"part-0000{i}.parquet") for i in (1, 2))])
    documents = list(corpus.get_corpus_iter())
    assert frame["docno"].tolist() == [document["docno"] for document in documents]
    expected = model.encode([document["text"] for document in documents])
    for i, (latents, weights) in enumerate(zip(frame["latents"], frame["weights"], strict=True)):
        assert latents.tolist() == expected.row(i)[0].tolist()
        np.testing.assert_allclose(weights, expected.row(i)[1], rtol=1e-5)
    assert len(frame["latents"].iloc[3]) == len(frame["latents"].iloc[7]) == 0
    schema = pq.read_schema(store.folder / "part-00001.parquet")
    assert [str(schema.field(name).type) for name in ("docno", "latents", "weights")] == [
        "string",
        "list<element: uint32>",
        "list<element: float>",
    ]
    description = json.loads(schema.metadata[b"saesplade"])
    assert description["fingerprint"] == model.fingerprint
    assert (description["model"], description["width"]) == (str(model), 2048)
    manifest = json.loads((store.folder / "pt_meta.json").read_text())
    assert manifest["n_docs"] == len(store) == 50
    assert manifest["n_postings"] == len(expected.latents)
    assert [part["n_docs"] for part in manifest["parts"]] == [20, 20, 10]
    assert sorted(os.listdir(store.folder)) == [f"part-0000{i}.parquet" for i in range(3)] + ["pt_meta.json"]


def test_shards_in_any_order_make_the_same_files(model: SaeSplade, store: StoredVectors, tmp_path: Path) -> None:
    """The job that finishes last finds all parts and writes the manifest."""
    folder = tmp_path / "sharded"
    for shard in [(2, 3), (0, 3)]:
        assert encode_corpus(model, SmallCorpus(), folder, shard=shard, part_documents=20) is None
        with pytest.raises(DataError, match=str(folder)):
            StoredVectors(folder)
    sharded = encode_corpus(model, SmallCorpus(), folder, shard=(1, 3), part_documents=20)
    assert sharded is not None
    assert sharded.manifest == store.manifest
    assert parts(folder) == parts(store.folder)


@pytest.mark.slow
def test_workers_share_the_parts(model: SaeSplade, store: StoredVectors, tmp_path: Path) -> None:
    """Two processes give the same vectors as one, up to rounding."""
    shared = encode_corpus(model, SmallCorpus(), tmp_path / "shared", workers=2, part_documents=20)
    assert shared is not None
    for (docnos, vectors), (expected_docnos, expected) in zip(shared.batches(), store.batches(), strict=True):
        assert docnos == expected_docnos
        np.testing.assert_array_equal(vectors.latents, expected.latents)
        np.testing.assert_allclose(vectors.weights, expected.weights, rtol=1e-5)


@pytest.mark.slow
def test_a_killed_encoding_is_resumed(model: SaeSplade, store: StoredVectors, tmp_path: Path) -> None:
    """Only missing parts are encoded, and the files are those of an uninterrupted run."""
    folder = tmp_path / "killed"
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from conftest import SmallCorpus
        from pyterrier_saesplade.saesplade import SaeSplade
        from pyterrier_saesplade.store import encode_corpus

        class Slow(SmallCorpus):
            def get_corpus_iter(self):
                for number, document in enumerate(super().get_corpus_iter()):
                    if number == 45:
                        print("killed here", flush=True)
                        time.sleep(600)
                    yield document

        model = SaeSplade.from_pretrained({model.source!r}, precision="float32")
        encode_corpus(model, Slow(), {str(folder)!r}, part_documents=20)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"killed here\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert len(before) == 2
    (folder / ".part-00002.parquet.0.partial").write_text("half of a file")
    time.sleep(0.01)
    encode_corpus(model, SmallCorpus(), folder, part_documents=20)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert parts(folder) == parts(store.folder)
    assert len(os.listdir(folder)) == 4


def test_half_weights(model: SaeSplade, corpus: SmallCorpus, store: StoredVectors, tmp_path: Path) -> None:
    half = encode_corpus(model, corpus, tmp_path / "half", half=True)
    assert half is not None
    assert str(pq.read_schema(half.folder / "part-00000.parquet").field("weights").type) == "list<element: halffloat>"
    weights = np.concatenate([vectors.weights for _, vectors in half.batches()])
    assert weights.dtype == np.float32
    expected = np.concatenate([vectors.weights for _, vectors in store.batches()])
    np.testing.assert_allclose(weights, expected, rtol=2**-11)


@pytest.mark.parametrize("engine", [pytest.param("terrier", marks=pytest.mark.slow), "exact"])
def test_an_index_of_a_store_is_that_of_the_texts(
    model: SaeSplade, corpus: SmallCorpus, tmp_path: Path, engine: str
) -> None:
    """The index is built with the model, or with the store instead."""
    # One part gives the same batches as the indexer. The corpus repeats texts, which rounding would order differently.
    store = encode_corpus(model, corpus, tmp_path / "store")
    assert store is not None
    of_texts = model.indexer(tmp_path / "texts", engine).index(corpus.get_corpus_iter())
    expected = model.retriever(of_texts)(TOPICS)
    of_store = model.indexer(tmp_path / "store.index", engine).index(store)
    pd.testing.assert_frame_equal(model.retriever(of_store)(TOPICS), expected, rtol=1e-5)
    alone = ConceptIndexer(store, tmp_path / "alone", engine).index(store)
    pd.testing.assert_frame_equal(model.retriever(alone)(TOPICS), expected, rtol=1e-5)
    assert alone.metadata["model"] == str(model)
    with pytest.raises(TypeError, match=str(store.folder)):
        ConceptIndexer(store, tmp_path / "other", engine).index(corpus.get_corpus_iter())


@pytest.mark.slow
def test_a_store_feeds_other_indexers(model: SaeSplade, store: StoredVectors, tmp_path: Path) -> None:
    """Its documents have float ``toks``, which a quantizer converts to integers."""
    plain = pt.terrier.TerrierIndex(tmp_path / "terrier")
    (Quantizer(10) >> plain.toks_indexer()).index(store.get_corpus_iter())
    ours = model.indexer(tmp_path / "ours").index(store)
    assert plain.index_obj().getCollectionStatistics().getNumberOfPostings() == ours.metadata["n_postings"]


def test_a_store_of_word_pieces(splade_path: Path, corpus: SmallCorpus, tmp_path: Path) -> None:
    """The pseudo-terms of a SPLADE checkpoint are saved with the store."""
    splade = SaeSplade.from_splade(splade_path, k=4)
    store = encode_corpus(splade, corpus, tmp_path / "store")
    assert store is not None
    assert store.terms.name(1996) == splade.terms.name(1996) == "the"
    index = ConceptIndexer(store, tmp_path / "index", "exact").index(store)
    assert len(splade.retriever(index)(TOPICS)) > 0


def test_the_store_of_another_model_is_refused(model: SaeSplade, store: StoredVectors, tmp_path: Path) -> None:
    other = SaeSplade.from_pretrained(model.source, k=3)
    expected = f"{store.folder}.*{store.fingerprint[:8]}.*{other.fingerprint[:8]}"
    with pytest.raises(ModelMismatchError, match=expected):
        other.indexer(tmp_path / "index", "exact").index(store)


def test_an_artifact(store: StoredVectors, tmp_path: Path, served: Callable[[Path], str]) -> None:
    """PyTerrier finds the class, and packs and unpacks the folder."""
    artifact = pt.Artifact.load(str(store.folder))
    assert isinstance(artifact, ConceptStore)
    artifact.build_package(str(tmp_path / "store.tar.lz4"), verbose=False)
    again = pt.Artifact.from_url(served(tmp_path / "store.tar.lz4"))
    assert isinstance(again, ConceptStore)
    assert parts(again.folder) == parts(store.folder)


class FixedCorpus(SmallCorpus):
    """A corpus of these documents."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.given = documents

    def get_corpus_iter(self) -> Any:
        return iter(self.given)


@pytest.mark.parametrize(
    ("documents", "fact"),
    [
        ([], "documents"),
        ([{"docno": "d1", "text": "a"}] * 2, "docno 'd1'"),
        ([{"docno": "", "text": "a"}], "docno .*''"),
        ([{"docno": "d1"}], "'d1'.*'text'"),
    ],
)
def test_invalid_documents(model: SaeSplade, tmp_path: Path, documents: list[dict[str, Any]], fact: str) -> None:
    with pytest.raises(DataError, match=fact):
        encode_corpus(model, FixedCorpus(documents), tmp_path / "store")


def test_a_store_of_another_format_is_refused(store: StoredVectors, tmp_path: Path) -> None:
    folder = shutil.copytree(store.folder, tmp_path / "other")
    manifest = json.loads((folder / "pt_meta.json").read_text())
    (folder / "pt_meta.json").write_text(json.dumps(manifest | {"format": "arrow"}))
    with pytest.raises(DataError, match="arrow"):
        StoredVectors(folder)


def test_a_damaged_or_missing_part(store: StoredVectors) -> None:
    part = store.folder / store.manifest["parts"][-1]["file"]
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(DataError, match=re.escape(str(part))):
        list(store.batches())
    part.unlink()
    with pytest.raises(DataError, match=re.escape(str(part))):
        list(store.batches())


def test_existing_folders(model: SaeSplade, corpus: SmallCorpus, store: StoredVectors, tmp_path: Path) -> None:
    """A finished store, unfinished work with another model or other documents, and a folder of something else."""
    with pytest.raises(PathExistsError, match=str(store.folder)):
        encode_corpus(model, corpus, store.folder)
    folder = tmp_path / "begun"
    encode_corpus(model, corpus, folder, shard=(0, 2), part_documents=20)
    with pytest.raises(PathExistsError, match=str(folder)):
        encode_corpus(SaeSplade.from_pretrained(model.source, k=3), corpus, folder, part_documents=20)
    others = FixedCorpus([{"docno": f"other{i}", "text": "a"} for i in range(20)])
    with pytest.raises(DataError, match=rf"{folder}/part-00000\.parquet"):
        encode_corpus(model, others, folder, part_documents=20)
    with pytest.raises(DataError, match=f"{folder} .*corpus"):
        encode_corpus(model, SmallCorpus(20), folder, shard=(0, 1), part_documents=20)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").touch()
    with pytest.raises(PathExistsError, match=str(tmp_path / "notes")):
        encode_corpus(model, corpus, tmp_path / "notes")
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "nowhere")):
        StoredVectors(tmp_path / "nowhere")
    for arguments, fact in (
        ({"shard": (2, 2)}, r"shard .*\(2, 2\)"),
        ({"workers": 0}, r"workers .*\b0\b"),
        ({"part_documents": 0}, r"part_documents .*\b0\b"),
    ):
        with pytest.raises(SettingError, match=fact):
            encode_corpus(model, corpus, tmp_path / "new", **arguments)  # type: ignore[arg-type]


def test_encoded_queries_search_without_a_model(model: SaeSplade, corpus: SmallCorpus, tmp_path: Path) -> None:
    """The run of a file of queries is that of the model. Empty queries stay in the file."""
    index = model.indexer(tmp_path / "index", "exact").index(corpus.get_corpus_iter())
    path = encode_topics(model, TOPICS, tmp_path / "queries.parquet")
    queries = read_queries(path)
    assert queries["qid"].tolist() == TOPICS["qid"].tolist()
    assert queries["query_toks"].iloc[1] == {}
    run = index.retriever()(queries).drop(columns="query_toks")
    pd.testing.assert_frame_equal(run, model.retriever(index)(TOPICS).drop(columns="query_toks"), check_dtype=False)
    with pytest.raises(PathExistsError, match=str(path)):
        encode_topics(model, TOPICS, path)
    encode_topics(model, TOPICS.head(1), path, overwrite=True)
    assert len(read_queries(path)) == 1
    other = SaeSplade.from_pretrained(model.source, k=3)
    encode_topics(other, TOPICS, path, overwrite=True)
    with pytest.raises(ModelMismatchError, match=f"queries .*{other.fingerprint[:8]}.*{model.fingerprint[:8]}"):
        index.retriever()(read_queries(path))


def test_files_that_hold_no_queries(model: SaeSplade, store: StoredVectors, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"\.parquet.*queries\.tsv"):
        encode_topics(model, TOPICS, tmp_path / "queries.tsv")
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "nowhere.parquet")):
        read_queries(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("qid query")
    TOPICS.to_parquet(tmp_path / "plain.parquet")
    for path in (tmp_path / "text.parquet", tmp_path / "plain.parquet", store.folder / "part-00000.parquet"):
        with pytest.raises(DataError, match=str(path)):
            read_queries(path)


def test_invalid_corpora_and_topics(model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="get_corpus_iter"):
        encode_corpus(model, [{"docno": "1", "text": "x"}], tmp_path / "store")  # type: ignore[arg-type]
    for topics, fact in (
        ([{"qid": "1"}], "'query'"),
        ([{"qid": 1, "query": "x"}], r"qid .*\b1\b"),
        ([{"qid": None, "query": "x"}], "qid .*None"),
        ([{"qid": "1", "query": "x"}, {"qid": "1", "query": "y"}], r"qid .*'1'.*\b2 times"),
    ):
        with pytest.raises(DataError, match=fact):
            encode_topics(model, pd.DataFrame(topics), tmp_path / "queries.parquet")
    assert list(tmp_path.iterdir()) == []


def test_equal_stores(store: StoredVectors) -> None:
    opened, again = ConceptStore(store.folder), pt.Artifact.load(str(store.folder))
    assert opened == again
    assert hash(opened) == hash(again)
    assert opened != store
    assert repr(again) == f"ConceptStore({str(store.folder)!r})"
