"""From topics to a run file."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.collections import Collection, read_topics
from pyterrier_saesplade.errors import DataError, PathExistsError, PathNotFoundError
from pyterrier_saesplade.evaluation import search
from pyterrier_saesplade.saesplade import SaeSplade


@pytest.fixture(scope="module")
def exact_index(small_collection: Collection, untrained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exact index of the small collection."""
    path = tmp_path_factory.mktemp("index") / "exact"
    SaeSplade.from_pretrained(untrained_model).indexer(path, "exact").index(small_collection.get_corpus_iter())
    return path


def test_a_run_is_the_output_of_the_retriever(
    exact_index: Path, untrained_model: Path, small_collection: Collection, tmp_path: Path
) -> None:
    """The run file contains what the retriever returns, to the requested depth."""
    topics = small_collection.folder / "queries.tsv"
    out = search(exact_index, untrained_model, topics, tmp_path / "run.trec", num_results=7)
    model, index = SaeSplade.from_pretrained(untrained_model), pt.Artifact.load(str(exact_index))
    expected = model.retriever(index, num_results=7)(small_collection.topics())
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(
        pt.io.read_results(str(out))[columns], expected[columns].reset_index(drop=True), check_dtype=False
    )


def test_errors_are_raised_before_any_work(exact_index: Path, untrained_model: Path, tmp_path: Path) -> None:
    """An existing run, a missing index, missing topics and a bad tag are errors. An existing run is not changed."""
    topics, run = tmp_path / "topics.tsv", tmp_path / "run.trec"
    topics.write_text("q1\tsparse\n", encoding="utf-8")
    run.write_text("old", encoding="utf-8")
    with pytest.raises(PathExistsError, match=re.escape(str(run))):
        search(exact_index, untrained_model, topics, run)
    with pytest.raises(PathNotFoundError, match=r"nowhere\.tsv"):
        search(exact_index, untrained_model, tmp_path / "nowhere.tsv", tmp_path / "new.trec")
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path / "nowhere"))):
        search(tmp_path / "nowhere", untrained_model, topics, tmp_path / "new.trec")
    with pytest.raises(DataError, match=r"tag.*'my run'"):
        search(exact_index, untrained_model, topics, tmp_path / "new.trec", tag="my run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.trec", "topics.tsv"]
    assert run.read_text(encoding="utf-8") == "old"


def test_an_unknown_engine(exact_index: Path, untrained_model: Path, tmp_path: Path) -> None:
    """The index is of an engine that this version does not have: the error names it, and the known engines."""
    index, topics = shutil.copytree(exact_index, tmp_path / "index"), tmp_path / "topics.tsv"
    topics.write_text("q1\tsparse\n", encoding="utf-8")
    metadata = json.loads((index / "pt_meta.json").read_text(encoding="utf-8"))
    (index / "pt_meta.json").write_text(json.dumps(metadata | {"format": "other"}), encoding="utf-8")
    with pytest.raises(DataError) as error:
        search(index, untrained_model, topics, tmp_path / "run.trec")
    assert all(repr(engine) in str(error.value) for engine in ("other", "terrier", "exact"))


def test_topics_are_read(tmp_path: Path) -> None:
    """UTF-8 with or without BOM, either line ending, and empty lines. Unicode separators do not end a line."""
    path = tmp_path / "topics.tsv"
    path.write_bytes("\ufeffq1\tgrüße \u2028 x\r\n\r\nq2\t\n".encode())
    assert read_topics(path).to_dict("records") == [
        {"qid": "q1", "query": "grüße \u2028 x"},
        {"qid": "q2", "query": ""},
    ]


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("q2 two", ["qid", "1"]),
        ("q2\ttwo\tthree", ["qid", "3"]),
        ("q 2\ttwo", ["qid", "'q 2'"]),
        ("\ttwo", ["qid", "''"]),
        ("q1\tagain", ["qid", "'q1'"]),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, facts: list[str]) -> None:
    """The error begins with the file and the number of the line."""
    path = tmp_path / "topics.tsv"
    path.write_text(f"q1\tone\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_topics(path)
    message = str(error.value)
    assert message.startswith(f"{path}:2: ")
    assert all(fact in message.removeprefix(f"{path}:2: ") for fact in facts), message


def test_no_topics(tmp_path: Path) -> None:
    """A file without topics is an error."""
    path = tmp_path / "topics.tsv"
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_topics(path)
