"""Building indexes: accepted and refused documents, metadata, and failed builds."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.engines import (
    ENGINES,
    ConceptIndex,
    ConceptIndexer,
    ExactConceptIndex,
    Spool,
    TerrierConceptIndex,
    open_index,
)
from pyterrier_saesplade.errors import (
    AlreadyQuantizedError,
    DataError,
    JavaNotFoundError,
    PathExistsError,
    PathNotFoundError,
    SettingError,
)
from pyterrier_saesplade.formats import import_vectors
from pyterrier_saesplade.pipeline import Prune
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import ConceptStore, encode_corpus
from pyterrier_saesplade.vectors import ConceptVectors

from .conftest import EVERY_ENGINE

DOCUMENTS = [
    {"docno": "1", "text": "sparse retrieval with concepts"},
    {"docno": "é " + "x" * 998, "text": "naïve café — ☃ 東京"},
    {"docno": "empty", "text": ""},
    {"docno": "none", "text": None},
    {"docno": "𝄞" * 20, "text": "music of the spheres"},
]


@pytest.fixture(scope="module", params=EVERY_ENGINE)
def index(request: pytest.FixtureRequest, model: SaeSplade, tmp_path_factory: pytest.TempPathFactory) -> ConceptIndex:
    """The documents in an index of each engine."""
    path = tmp_path_factory.mktemp("indexes") / "index"
    return model.indexer(path, request.param, batch_size=2).index(iter(DOCUMENTS))


def test_every_document_is_found_by_its_own_text(model: SaeSplade, index: ConceptIndex) -> None:
    assert len(index) == index.num_docs() == 5
    texts = [document for document in DOCUMENTS if document["text"]]
    queries = [{"qid": str(i), "query": document["text"]} for i, document in enumerate(texts)]
    run = model.retriever(index, 1)(queries)
    assert [row["docno"] for row in run] == [document["docno"] for document in texts]  # all 1,000 characters


def test_documents_with_vectors(model: SaeSplade, tmp_path: Path) -> None:
    """Vectors of the encoder, pruned ones, and those of a store are indexed as they are."""
    encode_corpus(model, SimpleNamespace(get_corpus_iter=lambda: iter(DOCUMENTS)), tmp_path / "store")
    store = ConceptStore(tmp_path / "store")
    indexes = [
        model.indexer(tmp_path / "texts", "exact").index(DOCUMENTS),
        (model.doc_encoder(scale=None) >> model.indexer(tmp_path / "stage", "exact")).index(DOCUMENTS),
        model.indexer(tmp_path / "toks", "exact").index(store.get_corpus_iter()),
        ConceptIndexer(store, tmp_path / "store.index", "exact").index(store.get_corpus_iter()),
    ]
    runs = [model.retriever(index).search("music with concepts") for index in indexes]
    for run in runs[1:]:
        pd.testing.assert_frame_equal(run, runs[0], atol=1e-4)
    pruned = model.doc_encoder(scale=None) >> Prune(3) >> model.indexer(tmp_path / "pruned", "exact")
    assert pruned.index(DOCUMENTS).metadata["n_postings"] == 9
    with pytest.raises(AlreadyQuantizedError):
        (model.doc_encoder() >> model.indexer(tmp_path / "integers", "exact")).index(DOCUMENTS)
    with pytest.raises(DataError, match=rf"'word'.*{model.source}"):
        model.indexer(tmp_path / "words", "exact").index([{"docno": "1", "toks": {"c1": 1.0, "word": 1.0}}])
    for weight, fact in ((float("nan"), "finite"), (-2.0, r"negative.*-2\b")):
        with pytest.raises(DataError, match=fact):
            model.indexer(tmp_path / "words", "exact").index([{"docno": "1", "toks": {"c1": weight, "c2": 1.0}}])
    documents = [{"docno": "1", "toks": {"c1": 1.0}}, {"docno": "2", "text": "x"}]
    with pytest.raises(DataError, match=r"'2'.*'toks'.*\bdocno, text\b"):
        model.indexer(tmp_path / "words", "exact").index(documents)
    with pytest.raises(TypeError, match=str(store.folder)):
        ConceptIndexer(store, tmp_path / "none", "exact").index(DOCUMENTS)
    assert not any((tmp_path / name).exists() for name in ("integers", "words", "none"))


def test_search_options(model: SaeSplade, tmp_path: Path) -> None:
    model.indexer(tmp_path / "index", "pisa").index(DOCUMENTS)
    assert open_index(tmp_path / "index", query_algorithm="block_max_wand").search_options == {
        "query_algorithm": "block_max_wand"
    }
    with pytest.raises(SettingError, match=r"query_algorithm .*\bmaxscore, block_max_maxscore, .*'fastest'"):
        open_index(tmp_path / "index", query_algorithm="fastest")
    with pytest.raises(SettingError, match=r"'pisa'.*'alpha'.*'query_algorithm'"):
        open_index(tmp_path / "index", alpha=1)


@pytest.mark.slow
def test_an_index_records_the_version_of_its_engine(model: SaeSplade, tmp_path: Path) -> None:
    versions = {
        engine: model.indexer(tmp_path / engine, engine).index(DOCUMENTS[:1]).metadata["versions"]
        for engine in ("terrier", "pisa", "exact")
    }
    assert versions["terrier"]["terrier"] == str(pt.terrier.J.Version.VERSION)
    assert versions["pisa"]["pyterrier_pisa"] == version("pyterrier_pisa")
    assert versions["exact"].keys() == {"pyterrier_saesplade", "pyterrier", "torch", "transformers"}


@pytest.mark.slow
def test_terrier_stores_docnos_of_the_longest_length(model: SaeSplade, tmp_path: Path) -> None:
    for name, documents in (("long", DOCUMENTS), ("short", DOCUMENTS[:1])):
        model.indexer(tmp_path / name).index(documents)
    lengths = {
        name: (tmp_path / name / "terrier" / "data.properties")
        .read_text()
        .split("index.meta.value-lengths=")[1]
        .split()[0]
        for name in ("long", "short")
    }
    assert lengths == {"long": "1000", "short": "1"}


def test_the_metadata_of_an_index(model: SaeSplade, index: ConceptIndex) -> None:
    meta = json.loads((index.path / "pt_meta.json").read_text())
    engine = index.ARTIFACT_FORMAT
    vectors = model.encode([document["text"] for document in DOCUMENTS])
    quantization = ENGINES[engine].default_quantization
    if quantization is not None:
        vectors = quantization.quantize(vectors)
    assert meta["type"] == "concept_index"
    assert meta["format"] == engine
    assert meta["package_hint"] == "pyterrier_saesplade"
    assert meta["fingerprint"] == index.fingerprint == model.fingerprint
    assert meta["quantization"] == (None if quantization is None else asdict(quantization))
    assert meta["query_scale"] == (None if quantization is None else 100.0)
    assert meta["n_docs"] == 5
    assert meta["n_postings"] == len(vectors.latents)
    assert meta["versions"]["pyterrier"] == pt.__version__
    assert (index.width, index.weighting) == (2048, "idf")
    assert index.statistics.df.tolist() == np.bincount(vectors.latents, minlength=2048).tolist()
    assert index.terms.name(7) == "c7"
    loaded = pt.Artifact.load(str(index.path))
    assert type(loaded) is ENGINES[engine]
    assert loaded == index
    assert os.listdir(index.path.parent) == ["index"]


@pytest.mark.slow
def test_staged_and_direct_indexing_give_the_same_postings(model: SaeSplade, tmp_path: Path) -> None:
    documents = [document | {"text": document["text"] or "filler"} for document in DOCUMENTS]
    direct = model.indexer(tmp_path / "direct").index(documents)
    staged = pt.terrier.TerrierIndex(tmp_path / "staged")
    (model.doc_encoder() >> staged.toks_indexer(meta={"docno": 1000})).index(documents)
    queries = model.query_encoder(scale=100)([{"qid": "1", "query": "concepts of music in 東京"}])
    assert staged.tf()(queries) == direct.terrier.tf()(queries)
    assert len(staged.tf()(queries)) > 1


@pytest.mark.parametrize(
    ("documents", "fact"),
    [
        ([{"docno": "1", "text": "a"}, {"docno": "2", "text": "b"}, {"docno": "1", "text": "c"}], "docno '1'"),
        ([{"docno": "1", "text": "a"}, {"docno": "1", "text": "c"}], "docno '1'"),
        ([{"docno": "1", "body": "a"}], r"'1'.*'text'.*\bdocno, body\b"),
        ([{"text": "a"}], "'docno'.*text"),
        ([{"docno": 1, "text": "a"}], r"docno .*\b1$"),
        ([{"docno": "", "text": "a"}], "docno .*''$"),
        (["a text"], r"dictionary.*\bstr\b"),
        ([], "documents"),
        ([{"docno": "1", "text": ""}, {"docno": "2", "text": None}], "empty"),
    ],
)
def test_documents_that_cannot_be_indexed(
    documents: list[dict[str, str]], fact: str, model: SaeSplade, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=fact):
        model.indexer(tmp_path / "index", "exact", batch_size=2).index(documents)
    assert os.listdir(tmp_path) == []


def test_a_repeated_docno_is_found_across_many_chunks(tmp_path: Path) -> None:
    empty = ConceptVectors.from_rows([([], [])] * 3)
    with Spool(tmp_path / "spool", 4, None) as spool:
        for start in range(0, 3000, 3):
            spool.append([str(start), str(start + 1), str(start + 2)], empty)
        for repeated in ("0", "1501", "2999"):
            with pytest.raises(DataError, match=f"docno '{repeated}'"):
                spool.append(["new" + repeated, repeated, "newer" + repeated], empty)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_an_existing_path_is_refused_before_any_work(engine: str, model: SaeSplade, tmp_path: Path) -> None:
    def documents() -> Iterator[dict[str, str]]:
        pytest.fail("a document was read")
        yield {}

    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(PathExistsError, match=f"{tmp_path}/notes .*overwrite=True"):
        model.indexer(tmp_path / "notes", engine).index(documents())
    with pytest.raises(DataError, match=f"{tmp_path}/notes "):
        model.indexer(tmp_path / "notes", engine, overwrite=True).index(documents())
    assert (tmp_path / "notes" / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_overwriting_an_index_that_was_searched(model: SaeSplade, tmp_path: Path) -> None:
    query = [{"qid": "1", "query": DOCUMENTS[0]["text"]}]
    for engine, docno in (("terrier", "before"), ("terrier", "after"), ("exact", "last")):
        documents = [{"docno": docno, "text": DOCUMENTS[0]["text"]}]
        index = model.indexer(tmp_path / "index", engine, overwrite=True).index(documents)
        assert [row["docno"] for row in model.retriever(index)(query)] == [docno]
        assert index.metadata["format"] == engine
        assert os.listdir(tmp_path) == ["index"]


def test_a_failed_replacement_leaves_the_index(model: SaeSplade, tmp_path: Path) -> None:
    model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    with pytest.raises(DataError, match="docno '1'"):
        model.indexer(tmp_path / "index", "exact", overwrite=True).index(DOCUMENTS[:1] * 2)
    assert len(pt.Artifact.load(str(tmp_path / "index"))) == 5
    assert os.listdir(tmp_path) == ["index"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_index_comes_back_when_its_successor_cannot_be_moved(
    error: type[BaseException], model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "index" and target == tmp_path / "index":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(error):
        model.indexer(tmp_path / "index", "exact", overwrite=True).index(DOCUMENTS[:1])
    assert len(ExactConceptIndex(tmp_path / "index")) == 5
    assert os.listdir(tmp_path) == ["index"]


def test_a_missing_java_is_an_error_before_any_work(
    model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_java() -> None:
        raise JavaNotFoundError("none")

    def documents() -> Iterator[dict[str, str]]:
        pytest.fail("a document was read")
        yield {}

    monkeypatch.setattr(pt.java, "started", lambda: False)
    monkeypatch.setattr(pt.java, "init", no_java)
    with pytest.raises(JavaNotFoundError):
        model.indexer(tmp_path / "index").index(documents())
    assert os.listdir(tmp_path) == []
    assert len(model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)) == 5


@pytest.mark.slow
def test_a_killed_build_leaves_no_index_and_does_not_prevent_the_next(model: SaeSplade, tmp_path: Path) -> None:
    script = f"""
        import time
        from pyterrier_saesplade.saesplade import SaeSplade
        def documents():
            yield {{"docno": "1", "text": "one"}}
            yield {{"docno": "2", "text": "two"}}
            print("half way", flush=True)
            time.sleep(600)
        model = SaeSplade.from_pretrained({model.source!r})
        model.indexer({str(tmp_path / "index")!r}, "exact", batch_size=1).index(documents())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half way\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = os.listdir(tmp_path)
    assert len(left) == 1
    assert left[0].startswith(".index.")
    assert left[0].endswith(".partial")
    with pytest.raises(PathNotFoundError, match=rf"{tmp_path}/index.*\bmodel\.indexer\b"):
        ExactConceptIndex(tmp_path / "index")
    with pytest.raises(DataError, match=str(tmp_path / left[0] / "index")):
        ExactConceptIndex(tmp_path / left[0] / "index")
    assert len(model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)) == 5


def test_an_index_is_opened_by_its_own_engine(model: SaeSplade, tmp_path: Path) -> None:
    exact = model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    with pytest.raises(DataError, match=rf"{exact.path}.*'exact'.*'terrier'.*\bpyterrier\.Artifact\b"):
        TerrierConceptIndex(exact.path)


def test_settings_are_checked(model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"'lucene'.*'terrier', .*'exact'"):
        model.indexer(tmp_path / "index", "lucene")
    with pytest.raises(SettingError, match=r"batch_size .*\b0\b"):
        model.indexer(tmp_path / "index", batch_size=0)
    with pytest.raises(TypeError, match="fields"):
        model.indexer(tmp_path / "index", "exact").index(DOCUMENTS, fields=["text"])


def test_pyterrier_inspects_the_indexer(model: SaeSplade, tmp_path: Path) -> None:
    indexer = model.indexer(tmp_path / "index", "exact", text_field="body")
    assert pt.inspect.indexer_inputs(indexer) == [["docno", "body"], ["docno", "toks"]]
    assert pt.schematic.transformer_schematic(indexer)["label"] == "Concept indexer"
    pipeline = pt.apply.generic(lambda frame: frame.assign(body=frame["text"])) >> indexer
    assert len(pipeline.index(DOCUMENTS)) == 5


@pytest.mark.slow
def test_terms_that_terrier_cannot_hold(tmp_path: Path) -> None:
    """Terms of up to 60 bytes in Java are found, and so are terms sorted after them. Longer terms would hide these."""
    for number, (term, length) in enumerate(
        [("m" * 60, 60), ("\N{GRINNING FACE}" * 10, 60), ("m" * 61, 61), ("\N{GRINNING FACE}" * 11, 66)]
    ):
        file = tmp_path / f"{number}.jsonl"
        vectors = [{"docno": name, "vector": {name: 1.0, term: 2.0}} for name in ("a", "zzz")]
        file.write_text("".join(json.dumps(line) + "\n" for line in vectors), encoding="utf-8")
        store = import_vectors(file, "jsonl", tmp_path / f"store{number}")
        indexer = ConceptIndexer(store, tmp_path / f"index{number}")
        if length > 60:
            with pytest.raises(DataError, match=rf"\b60\b.*'{term}'.*\b{length}\b"):
                indexer.index(store)
            continue
        queries = pd.DataFrame({"qid": ["1", "2"], "query_toks": [{"zzz": 1.0}, {term: 1.0}]})
        found = indexer.index(store).retriever()(queries)
        assert list(zip(found["qid"], found["docno"], strict=True)) == [("1", "zzz"), ("2", "a"), ("2", "zzz")]
