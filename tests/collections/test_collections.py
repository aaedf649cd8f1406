"""Collections in folders and data sets: what is read, what is written, and which errors name which line."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import ir_datasets
import pandas as pd
import pytest
from pyterrier.datasets import DATASET_MAP, Dataset

from pyterrier_saesplade.collections import (
    DatasetCollection,
    FolderCollection,
    docstring_collection,
    docstrings,
    installed_docstrings,
    open_collection,
    write_collection,
)
from pyterrier_saesplade.collections.docstrings import Docstring
from pyterrier_saesplade.errors import DataError, PathExistsError, PathNotFoundError, SettingError

DOCUMENT = '{"docno": "d1", "title": "Sparse", "text": "vectors"}\n'
TOPICS = pd.DataFrame({"qid": ["q1"], "query": ["what \t is\nsparse"]})
QRELS = pd.DataFrame({"qid": ["q1"], "docno": ["d1"], "label": [2]})


def write(folder: Path, docs: str = DOCUMENT, queries: str = "q1\tsparse\n", qrels: str = "q1 0 d1 1\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docs.jsonl").write_text(docs, "utf-8")
    (folder / "queries.tsv").write_text(queries, "utf-8")
    (folder / "qrels.txt").write_text(qrels, "utf-8")
    return folder


def test_folder(tmp_path: Path) -> None:
    docs = DOCUMENT + "\n" + '{"docno": "é2", "title": "", "text": "", "url": "x"}\n'
    collection = open_collection(write(tmp_path / "mine", docs, "q1\tsparse\n\nq2\t\n", "q1 0 d1 2\nq1 Q0 é2 -1\n"))
    assert collection.name == "mine"
    assert len(collection) == 2
    expected = [
        {"docno": "d1", "title": "Sparse", "text": "Sparse vectors"},
        {"docno": "é2", "text": ""},
    ]
    assert list(collection.get_corpus_iter()) == expected
    assert list(collection.get_corpus_iter()) == expected, "every call starts again"
    assert collection.topics().to_dict("list") == {"qid": ["q1", "q2"], "query": ["sparse", ""]}
    assert collection.qrels().to_dict("list") == {"qid": ["q1", "q1"], "docno": ["d1", "é2"], "label": [2, -1]}


def test_folder_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    write(tmp_path, queries="\ufeffq1\tsparse\r\n")
    (tmp_path / "docs.jsonl.gz").write_bytes(gzip.compress(DOCUMENT.encode("utf-8-sig")))
    with pytest.raises(DataError) as error:
        open_collection(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert {"docs.jsonl", "docs.jsonl.gz"} <= set(re.findall(r"docs[.\w]*\w", str(error.value)))
    (tmp_path / "docs.jsonl").unlink()
    collection = open_collection(tmp_path)
    assert [document["docno"] for document in collection.get_corpus_iter()] == ["d1"]
    assert collection.topics().to_dict("records") == [{"qid": "q1", "query": "sparse"}]


def test_query_sets(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path / "train", queries="q7\ttraining\n", qrels="q7 0 d1 1\n")
    collection = open_collection(tmp_path)
    assert collection.topics("train")["qid"].tolist() == ["q7"]
    assert collection.qrels("train")["qid"].tolist() == ["q7"]
    with pytest.raises(PathNotFoundError) as error:
        collection.topics("dev")
    assert str(tmp_path / "dev" / "queries.tsv") in str(error.value)
    assert "train" in str(error.value)


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("{'docno': 1}", ["JSON", "Expecting property name enclosed in double quotes", "2"]),
        ("[1]", ["JSON", "docno", "text"]),
        ('{"text": "t"}', ["docno", "None"]),
        ('{"docno": 3, "text": "t"}', ["docno", "3"]),
        ('{"docno": "", "text": "t"}', ["docno", "''"]),
        ('{"docno": "d 2", "text": "t"}', ["docno", "'d 2'"]),
        ('{"docno": "d2"}', ["text", "None"]),
        ('{"docno": "d2", "text": "t", "title": 4}', ["title", "4"]),
    ],
)
def test_a_malformed_document(tmp_path: Path, line: str, facts: list[str]) -> None:
    collection = open_collection(write(tmp_path, docs=DOCUMENT + "\n" + line + "\n"))
    with pytest.raises(DataError) as error:
        list(collection.get_corpus_iter())
    assert_names(error.value, tmp_path / "docs.jsonl", 3, facts)


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("q2", ["qid", "1"]),
        ("q2\ta\tb", ["qid", "3"]),
        ("q 2\ta", ["qid", "'q 2'"]),
        ("\ta", ["qid", "''"]),
        ("q1\ta", ["qid", "'q1'"]),
    ],
)
def test_a_malformed_query(tmp_path: Path, line: str, facts: list[str]) -> None:
    collection = open_collection(write(tmp_path, queries="q1\tsparse\n" + line + "\n"))
    with pytest.raises(DataError) as error:
        collection.topics()
    assert_names(error.value, tmp_path / "queries.tsv", 2, facts)


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("q1 0 d2", ["qid 0 docno rel", "3"]),
        ("q1 0 d 2 1", ["qid 0 docno rel", "5"]),
        ("q1 0 d2 1.0", ["rel", "'1.0'"]),
        ("q1 0 d1 0", ["'q1'", "'d1'"]),
    ],
)
def test_a_malformed_judgement(tmp_path: Path, line: str, facts: list[str]) -> None:
    collection = open_collection(write(tmp_path, qrels="q1 0 d1 1\n" + line + "\n"))
    with pytest.raises(DataError) as error:
        collection.qrels()
    assert_names(error.value, tmp_path / "qrels.txt", 2, facts)


def assert_names(error: Exception, file: Path, number: int, facts: list[str]) -> None:
    """The message begins with the file and the number of the line, and names the facts behind them."""
    start, message = f"{file}:{number}: ", str(error)
    assert message.startswith(start)
    assert all(fact in message.removeprefix(start) for fact in facts), message
    assert "\n" not in message


def test_broken_bytes(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_bytes(DOCUMENT.encode() + b'{"docno": "d\xff"}\n')
    with pytest.raises(DataError, match=r"docs\.jsonl:2: .*UTF-8.*invalid start byte"):
        list(open_collection(tmp_path).get_corpus_iter())


def test_truncated_gzip(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl.gz").write_bytes(gzip.compress(DOCUMENT.encode())[:-4])
    with pytest.raises(DataError, match=r"docs\.jsonl\.gz:\d: .*Compressed file ended before"):
        list(open_collection(tmp_path).get_corpus_iter())


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="'no-such'"):
        open_collection("no-such")
    with pytest.raises(SettingError, match="'irds:no-such'"):
        open_collection("irds:no-such")
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path))):
        FolderCollection(tmp_path)


def test_ir_datasets(tmp_path: Path) -> None:
    (tmp_path / "docs.tsv").write_text("d1\tsparse vectors\nd2\tdense vectors\n")
    (tmp_path / "queries.tsv").write_text("q1\twhat is sparse\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 2\n")
    files = {"docs_tsv": "docs.tsv", "queries_tsv": "queries.tsv", "qrels_trec": "qrels.txt"}
    dataset = ir_datasets.create_dataset(**{kind: str(tmp_path / file) for kind, file in files.items()})
    ir_datasets.registry.register("saesplade-test", dataset)
    ir_datasets.registry.register("saesplade-test/train", dataset)
    collection = open_collection("irds:saesplade-test")
    assert isinstance(collection, DatasetCollection)
    assert list(collection.get_corpus_iter()) == [
        {"docno": "d1", "text": "sparse vectors"},
        {"docno": "d2", "text": "dense vectors"},
    ]
    for query_set in (None, "train"):
        assert collection.topics(query_set).to_dict("records") == [{"qid": "q1", "query": "what is sparse"}]
        assert collection.qrels(query_set).to_dict("records") == [{"qid": "q1", "docno": "d1", "label": 2}]


class Titled(Dataset):
    """A data set as PyTerrier's own are."""

    def get_corpus_iter(self, *, verbose: bool = True) -> Iterator[dict[str, str]]:
        yield json.loads(DOCUMENT)

    def get_topics(self, variant: str | None = None) -> pd.DataFrame:
        return TOPICS.assign(query=variant, number=1)

    def get_qrels(self, variant: str | None = None) -> pd.DataFrame:
        return QRELS.assign(iteration=0, variant=variant)


def test_pyterrier_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASET_MAP, "titled", Titled())
    collection = open_collection("titled")
    assert list(collection.get_corpus_iter()) == [{"docno": "d1", "title": "Sparse", "text": "Sparse vectors"}]
    assert collection.topics("title").to_dict("records") == [{"qid": "q1", "query": "title"}]
    assert collection.qrels().to_dict("records") == QRELS.to_dict("records")


def test_a_data_set_without_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the data set and the missing part, for data sets of `ir_datasets` and of PyTerrier alike."""
    documents, queries = tmp_path / "docs.tsv", tmp_path / "queries.tsv"
    documents.write_text("d1\tsparse vectors\n")
    queries.write_text("q1\twhat is sparse\n")
    ir_datasets.registry.register("saesplade-docs", ir_datasets.create_dataset(docs_tsv=str(documents)))
    ir_datasets.registry.register("saesplade-docs/queries", ir_datasets.create_dataset(queries_tsv=str(queries)))
    monkeypatch.setitem(DATASET_MAP, "nothing", Dataset())
    for name in ("irds:saesplade-docs", "nothing"):
        for part, ask in (("topics", DatasetCollection.topics), ("qrels", DatasetCollection.qrels)):
            with pytest.raises(DataError, match=f"'{name}'.* {part}"):
                ask(DatasetCollection(name))
    with pytest.raises(DataError, match=r"'irds:saesplade-docs/queries'.* qrels"):
        open_collection("irds:saesplade-docs").qrels("queries")
    for name in ("irds:saesplade-docs/queries", "nothing"):
        with pytest.raises(DataError, match=f"'{name}'.* corpus"):
            list(open_collection(name).get_corpus_iter())


@pytest.mark.parametrize("error", [RuntimeError("all sources failed"), OSError("no network")])
def test_a_failed_download_is_an_error_of_the_data(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Networks fail in practice, so the error is no bug, and it names the dataset."""

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setitem(DATASET_MAP, "remote", Titled())
    for name in ("get_corpus_iter", "get_topics", "get_qrels"):
        monkeypatch.setattr(Titled, name, fail)
    collection = open_collection("remote")
    for ask in (collection.topics, collection.qrels, lambda: next(collection.get_corpus_iter())):
        with pytest.raises(DataError, match=f"remote.*{error}"):
            ask()


def test_write_collection(tmp_path: Path) -> None:
    documents = [{"docno": "d1", "title": "Sparse", "text": "Sparse vectors"}, {"docno": "d2", "text": "é"}]
    collection = write_collection(tmp_path / "a" / "new", documents, TOPICS, QRELS)
    assert list(collection.get_corpus_iter()) == [
        {"docno": "d1", "text": "Sparse vectors"},
        {"docno": "d2", "text": "é"},
    ]
    assert collection.topics().to_dict("records") == [{"qid": "q1", "query": "what is sparse"}]
    assert collection.qrels().to_dict("records") == QRELS.to_dict("records")
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / "a" / "new"))):
        write_collection(tmp_path / "a" / "new", [], TOPICS, QRELS)


def test_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"docno.*'d 1'"):
        write_collection(tmp_path / "new", [{"docno": "d 1", "text": "t"}], TOPICS, QRELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_real_collection(collection_folder: Callable[[str], Path]) -> None:
    collection = open_collection(collection_folder("cranfield"))
    documents = {document["docno"]: document for document in collection.get_corpus_iter()}
    qrels = collection.qrels()
    assert set(qrels["qid"]) <= set(collection.topics()["qid"])
    assert set(qrels["docno"]) <= set(documents)
    assert (qrels["label"] > 0).any()


@pytest.fixture
def small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library that replaces the installed ones."""
    rest = "\n    ".join(["one two three four five"] * 6)
    source = f'''
class Public:
    """A class of examples.

    {rest} class
    """

    def method(self):
        """Returns what methods return.

        {rest} method
        """

    def _private(self):
        """Not a public method.

        {rest} private
        """

    def short(self):
        """Four words, no more."""


def duplicate():
    """Has the text of another docstring.

    {rest} method
    """


raise RuntimeError("imported")
'''
    library = tmp_path / "small_library"
    for folder in (library, library / "tests", library / "_internal"):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "module.py").write_text(source)
    (library / "broken.py").write_text("def")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(docstrings, "LIBRARIES", ("small_library", "not_installed_library"))
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(library / "tests"))
    return library


def test_docstrings_are_public_and_unique(small_library: Path) -> None:
    rest = " ".join(["one two three four five"] * 6)
    standard = [
        Docstring("module.Public", "A class of examples.", f"{rest} class"),
        Docstring("module.Public.method", "Returns what methods return.", f"{rest} method"),
    ]
    assert list(installed_docstrings()) == standard, "the library's copies are duplicates"
    (small_library / "tests" / "module.py").unlink()
    assert [docstring.name for docstring in installed_docstrings()] == [
        "small_library.module.Public",
        "small_library.module.Public.method",
    ]


def test_docstring_collection_is_seeded_and_kept(small_library: Path, tmp_path: Path) -> None:
    first = docstring_collection(tmp_path / "a", documents=2, queries=1)
    docstring_collection(tmp_path / "b", documents=2, queries=1)
    for file in ("docs.jsonl.gz", "queries.tsv", "qrels.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert len(list(first.get_corpus_iter())) == 2
    (answer,) = first.qrels()["docno"]
    question = {"module.Public": "A class of examples.", "module.Public.method": "Returns what methods return."}
    assert first.topics().to_dict("records") == [{"qid": "q1", "query": question[answer]}]
    kept = docstring_collection(tmp_path / "a", documents=1, queries=1)
    assert len(list(kept.get_corpus_iter())) == 2


def test_docstring_collection_of_two_processes_at_once(
    small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one opens what the faster one wrote."""

    def overtaken() -> Iterator[Docstring]:
        yield from list(installed_docstrings())
        with monkeypatch.context() as unpatched:
            unpatched.setattr(docstrings, "installed_docstrings", installed_docstrings)
            docstring_collection(tmp_path / "a", documents=1, queries=1)

    monkeypatch.setattr(docstrings, "installed_docstrings", overtaken)
    slower = docstring_collection(tmp_path / "a", documents=2, queries=1)
    assert len(list(slower.get_corpus_iter())) == 1


def test_more_docstrings_or_queries_than_there_are(small_library: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\b2 docstrings.*\b3\b"):
        docstring_collection(tmp_path / "a", documents=3, queries=1)
    with pytest.raises(SettingError) as error:
        docstring_collection(tmp_path / "a", documents=2, queries=3)
    assert all(fact in str(error.value) for fact in ("3 queries", "2 documents"))


def test_docstrings_of_this_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "_packages", lambda: [(("json",), Path(json.__file__).parent)])
    found = {docstring.name: docstring for docstring in installed_docstrings()}
    loads = found["json.loads"]
    assert loads.summary.startswith("Deserialize ``s``")
    assert loads.body.split()[-1] in json.loads.__doc__.split()


def test_the_docstrings_are_opened_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTERRIER_HOME", str(tmp_path / "home"))
    write_collection(tmp_path / "home" / "saesplade" / "docstrings", [{"docno": "d1", "text": "t"}], TOPICS, QRELS)
    assert list(open_collection("docstrings").get_corpus_iter()) == [{"docno": "d1", "text": "t"}]
