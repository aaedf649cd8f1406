"""From topics to a run file."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.collections import Collection, read_topics
from pyterrier_saesplade.evaluation import search
from pyterrier_saesplade.saesplade import SaeSplade


@pytest.fixture(scope="module")
def exact_index(small_collection: Collection, untrained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exact index of the small collection."""
    path = tmp_path_factory.mktemp("index") / "exact"
    SaeSplade.from_pretrained(untrained_model).indexer(path, "exact").index(small_collection.get_corpus_iter())
    return path


def test_a_run_is_the_retrievers(
    exact_index: Path, untrained_model: Path, small_collection: Collection, tmp_path: Path
) -> None:
    """Any engine; the run file holds what the retriever gives, to the depth asked."""
    topics = small_collection.folder / "queries.tsv"
    out = search(exact_index, untrained_model, topics, tmp_path / "run.trec", num_results=7)
    model, index = SaeSplade.from_pretrained(untrained_model), pt.Artifact.load(str(exact_index))
    expected = model.retriever(index, num_results=7)(small_collection.topics())
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(
        pt.io.read_results(str(out))[columns], expected[columns].reset_index(drop=True), check_dtype=False
    )


def test_mistakes_are_found_before_work(exact_index: Path, untrained_model: Path, tmp_path: Path) -> None:
    """An existing run, no index, no topics, a bad tag: errors, and the run stays as it was."""
    topics, run = tmp_path / "topics.tsv", tmp_path / "run.trec"
    topics.write_text("q1\tsparse\n", encoding="utf-8")
    run.write_text("old", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"run\.trec exists already"):
        search(exact_index, untrained_model, topics, run)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tsv"):
        search(exact_index, untrained_model, tmp_path / "nowhere.tsv", tmp_path / "new.trec")
    with pytest.raises(FileNotFoundError, match="there is no index at"):
        search(tmp_path / "nowhere", untrained_model, topics, tmp_path / "new.trec")
    with pytest.raises(ValueError, match=r"run: tag must be .* free of blanks, found 'my run'"):
        search(exact_index, untrained_model, topics, tmp_path / "new.trec", tag="my run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.trec", "topics.tsv"]
    assert run.read_text(encoding="utf-8") == "old"


def test_an_unknown_engine(exact_index: Path, untrained_model: Path, tmp_path: Path) -> None:
    """An index of an engine that this version does not have is named as such."""
    index, topics = shutil.copytree(exact_index, tmp_path / "index"), tmp_path / "topics.tsv"
    topics.write_text("q1\tsparse\n", encoding="utf-8")
    metadata = json.loads((index / "pt_meta.json").read_text(encoding="utf-8"))
    (index / "pt_meta.json").write_text(json.dumps(metadata | {"format": "other"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"was built with engine 'other'; known are: 'terrier', .*'exact'"):
        search(index, untrained_model, topics, tmp_path / "run.trec")


def test_topics_are_read(tmp_path: Path) -> None:
    """UTF-8 with or without BOM, either line end, empty lines; separators of Unicode end no line."""
    path = tmp_path / "topics.tsv"
    path.write_bytes("\ufeffq1\tgrüße \u2028 x\r\n\r\nq2\t\n".encode())
    assert read_topics(path).to_dict("records") == [
        {"qid": "q1", "query": "grüße \u2028 x"},
        {"qid": "q2", "query": ""},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q2 two", "expected qid<TAB>query, found 1 column(s)"),
        ("q2\ttwo\tthree", "expected qid<TAB>query, found 3 column(s)"),
        ("q 2\ttwo", "qid must be a string that is not empty and free of blanks, found 'q 2'"),
        ("\ttwo", "qid must be a string that is not empty and free of blanks, found ''"),
        ("q1\tagain", "qid 'q1' stands in this file twice"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """By file and number."""
    path = tmp_path / "topics.tsv"
    path.write_text(f"q1\tone\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^.+:2: ") as error:
        read_topics(path)
    assert str(error.value) == f"{path}:2: {message}"


def test_no_topics(tmp_path: Path) -> None:
    """An empty file is a mistake."""
    path = tmp_path / "topics.tsv"
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no topics"):
        read_topics(path)
