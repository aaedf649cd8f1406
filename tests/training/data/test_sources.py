"""Training data from every kind of file: what is read, what is left out and reported, and what is an error."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from pyterrier_saesplade.collections import Collection, Problems, TextTable, key, write_collection
from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.training.data import (
    TrainingData,
    read_dataset,
    read_distillation,
    read_labels,
    read_training_data,
    read_triples,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "saesplade"


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    path = tmp_path / "collection.tsv"
    path.write_text("".join(f"{pid}\tpassage number {pid}\n" for pid in range(9)))
    return path


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.tsv"
    path.write_text("".join(f"q{i}\tquery number {i}\n" for i in range(4)))
    return path


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    documents = [{"docno": f"d{i}", "text": f"document number {i}"} for i in range(6)]
    topics = pd.DataFrame({"qid": ["1", "2", "3"], "query": ["one", "two", "three"]})
    qrels = pd.DataFrame({"qid": list("1112"), "docno": ["d1", "d2", "d3", "d4"], "label": [1, 0, 2, 0]})
    return write_collection(tmp_path / "collection", documents, topics, qrels)


def texts(data: TrainingData, number: int) -> tuple[str, list[str], list[float], int]:
    example = data[number]
    (query,) = data.queries.texts([example.query])
    return query, data.passages.texts(example.passages), example.scores.tolist(), example.positives


def test_distillation(tmp_path: Path, passages: Path, queries: Path) -> None:
    """Identifiers may be numbers. A header and empty lines are skipped. Files may be compressed."""
    lines = [{"made": "by a test"}, ["q1", [3, 1.5], [4, -2], [5, 0.25]], ["q0", ["8", 1], ["0", 2]]]
    content = "\n".join(map(json.dumps, lines)) + "\n\n"
    (tmp_path / "examples.json").write_text(content)
    with gzip.open(tmp_path / "examples.json.gz", "wt") as file:
        file.write(content)
    for name in ("examples.json", "examples.json.gz"):
        data = read_distillation(tmp_path / name, passages, queries, on_error="raise")
        assert len(data) == 2
        assert data.scored
        assert data.has_negatives
        assert data.problems == []
        assert data.source == {"distillation": name, "made": "by a test"}
        expected = ["passage number 3", "passage number 4", "passage number 5"]
        assert texts(data, 0) == ("query number 1", expected, [1.5, -2, 0.25], 1)
        assert texts(data, 1) == ("query number 0", ["passage number 8", "passage number 0"], [1, 2], 1)
        assert data.numbers(2).tolist() == [0, 1]
        assert data.numbers(3).tolist() == [0]
        assert data.numbers(4).tolist() == []


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path, passages: Path, queries: Path) -> None:
    lines = [
        '["q1", ["3", 1], ["99", 2], ["4", 3]]',  # a passage that does not exist
        '["q1", ["99", 1], ["3", 2]]',  # a positive that does not exist
        '["q9", ["3", 1], ["4", 2]]',  # a query that does not exist
        '["q1", ["3", 1]',  # cut off
        '["q1", ["3", 1]]',  # only one passage
        '["q1", ["3", NaN], ["4", 1]]',
        '"q1"',
        '{"qid": "q1", "left out": "fewer than two candidates"}',
    ]
    file = tmp_path / "examples.jsonl"
    file.write_bytes("\n".join(lines).encode() + b'\n["q\xff1", ["3", 1], ["4", 2]]')
    data = read_distillation(file, passages, queries)
    assert len(data) == 1
    assert texts(data, 0)[1:] == (["passage number 3", "passage number 4"], [1, 3], 1)
    # How many there are of a kind of problem, and the first of them.
    assert_problems(
        data.problems,
        (1, f"{file}:2: ", "q1"),
        (1, f"{file}:3: ", "q9"),
        (1, f"{file}:8: ", "fewer than two candidates"),
        (1, f"{file}:9: ", "invalid start byte"),
        (2, f"{file}:1: ", "99"),
        (4, f"{file}:4: ", "Expecting ',' delimiter: line 1 column 16 (char 15)"),
    )
    assert read_distillation(file, passages, queries).problems == data.problems, "from the cache too"
    for number, line, fact in [
        (1, lines[0], r"passage.*\b99"),
        (1, lines[2], r"query.*\bq9"),
        (2, f"{lines[2].replace('q9', 'q1')}\n{lines[3]}", "Expecting ',' delimiter"),
        (1, lines[4], r"\[qid, \[pid, score\]"),
        (1, lines[5], "score"),
    ]:
        file.write_text(line)
        with pytest.raises(DataError, match=rf"{re.escape(str(file))}:{number}: .*{fact}"):
            read_distillation(file, passages, queries, on_error="raise")
    file.write_text(lines[2])
    with pytest.raises(DataError, match=rf"\b1 x .*{re.escape(str(file))}:1: q9"):
        read_distillation(file, passages, queries)


def assert_problems(problems: list[str], *expected: tuple[int, str, str]) -> None:
    """Each problem begins with its count, and names the place and the reason of its first occurrence."""
    assert len(problems) == len(expected)
    for problem, (count, place, reason) in zip(sorted(problems, key=by_count_and_place), expected, strict=True):
        assert problem.startswith(f"{count} x ")
        assert place in problem
        assert reason in problem.partition(place)[2]


def by_count_and_place(problem: str) -> tuple[int, int]:
    """Returns the count of a problem, and the number of its first line or row."""
    found = re.search(r"^(\d+) x .*?[: ](\d+): ", problem)
    assert found is not None, problem
    return int(found[1]), int(found[2])


def test_triples(tmp_path: Path, passages: Path, queries: Path) -> None:
    (tmp_path / "triples.tsv").write_text("q1\t3\t4\nq1 3 5\nq2 1\n")
    data = read_triples(tmp_path / "triples.tsv", passages, queries)
    assert [texts(data, i) for i in range(len(data))] == [
        ("query number 1", ["passage number 3", "passage number 4"], [], 1),
        ("query number 1", ["passage number 3", "passage number 5"], [], 1),
    ]
    assert not data.scored
    assert_problems(data.problems, (1, f"{tmp_path / 'triples.tsv'}:3: ", "2"))


def test_problems_with_texts_are_reported_too(tmp_path: Path, passages: Path, queries: Path) -> None:
    broken = tmp_path / "broken.tsv"
    broken.write_text(passages.read_text() + "no tab\n")
    (tmp_path / "triples.tsv").write_text("q1\t3\t4\n")
    number = len(broken.read_text().splitlines())
    for _ in ("read", "from the cache"):
        problems = read_triples(tmp_path / "triples.tsv", broken, queries).problems
        assert_problems(problems, (1, f"{broken}:{number}: ", ""))
    with pytest.raises(DataError, match=rf"\b1 x .*{re.escape(str(broken))}:{number}"):
        read_triples(tmp_path / "triples.tsv", broken, queries, on_error="raise")
    cut = tmp_path / "cut.tsv.gz"
    cut.write_bytes(gzip.compress(passages.read_bytes())[:-9])
    with pytest.raises(DataError, match=r"cut\.tsv\.gz:\d+: .*Compressed file ended before"):
        read_triples(tmp_path / "triples.tsv", cut, queries)


def test_labels(collection: Collection, tmp_path: Path) -> None:
    """The best judged document comes first. A query without a relevant document is left out."""
    data = read_labels(collection, None)
    assert [texts(data, i) for i in range(len(data))] == [("one", ["document number 3", "document number 1"], [], 2)]
    assert not data.has_negatives
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path / "collection" / "train"))):
        read_labels(tmp_path / "collection")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"query": ["a"], "positive": ["p"], "negative": ["n"]}, ("a", ["p", "n"], [])),
        ({"anchor": ["a"], "positive": ["p"], "negative_1": ["m"], "negative_2": ["n"]}, ("a", ["p", "m", "n"], [])),
        (
            {"query": ["a"], "positive": ["p"], "negatives": [["m", "n"]], "scores": [[3, 2, 1]]},
            ("a", ["p", "m", "n"], [3, 2, 1]),
        ),
        ({"query": ["a"], "positive": ["p"], "negative": ["n"], "label": [1.5]}, ("a", ["p", "n"], [1.5, 0])),
        ({"question": ["a"], "positive": ["p"]}, ("a", ["p"], [])),
    ],
)
def test_data_sets(
    columns: dict[str, list[object]], expected: tuple[str, list[str], list[float]], tmp_path: Path
) -> None:
    """Data sets in memory, saved to disk, in Parquet and in JSON lines."""
    dataset = Dataset.from_dict(columns)
    dataset.save_to_disk(tmp_path / "saved")
    dataset.to_parquet(tmp_path / "file.parquet")
    dataset.to_json(tmp_path / "file.jsonl")
    for source in (dataset, tmp_path / "saved", tmp_path / "file.parquet", tmp_path / "file.jsonl"):
        data = read_dataset(source)
        assert [texts(data, i) for i in range(len(data))] == [(*expected, 1)]
        assert data.has_negatives == (len(expected[1]) > 1)


def test_data_sets_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'query'.*'positive'.*\btext\b"):
        read_dataset(Dataset.from_dict({"text": ["a"]}))
    rows = {"query": ["a", "", "c", "d"], "positive": ["p", "p", "p", "p"], "negative": ["n", "n", "n", "n"]}
    data = read_dataset(Dataset.from_dict(rows | {"scores": [[1, 2], [1, 2], [1, 2, 3], [1, None]]}))
    assert len(data) == 1
    assert_problems(data.problems, (3, "row 1: ", "text"))
    for number, fact in [(1, "text"), (2, r"\b3\b.*\b2\b"), (3, "float")]:
        one = {name: [values[number]] for name, values in rows.items()}
        scores = [[1, 2], [1, 2], [1, 2, 3], [1, None]][number]
        with pytest.raises(DataError, match=f"row 0: .*{fact}"):
            read_dataset(Dataset.from_dict(one | {"scores": [scores]}), on_error="raise")
    with pytest.raises(DataError, match=r"row 0: .*score"):
        read_dataset(Dataset.from_dict({"query": ["a"], "positive": ["p"], "negative": ["n"], "score": [float("nan")]}))
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path / "none.parquet"))):
        read_dataset(tmp_path / "none.parquet")
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path))):
        read_dataset(tmp_path)
    (tmp_path / "broken.jsonl").write_text("{not json\n")
    with pytest.raises(DataError, match=r"broken\.jsonl"):
        read_dataset(tmp_path / "broken.jsonl")


def test_training_data_from_collections_and_files(
    collection: Collection, tmp_path: Path, passages: Path, queries: Path
) -> None:
    """A collection can be the source of passages and queries. Each file of examples is a data set."""
    (tmp_path / "mined.jsonl").write_text('["1", ["d1", 1], ["d2", 2]]')
    (tmp_path / "triples.tsv").write_text("q1 3 4")
    (mined,) = read_training_data(collection, query_set=None, examples=[tmp_path / "mined.jsonl"])
    assert texts(mined, 0)[:2] == ("one", ["document number 1", "document number 2"])
    (labels,) = read_training_data(collection, query_set=None)
    assert not labels.has_negatives
    two = read_training_data(
        examples=[tmp_path / "mined.jsonl", tmp_path / "triples.tsv"],
        passages=[collection, passages],
        queries=[collection, queries],
    )
    assert [data.scored for data in two] == [True, False]
    for given, fact in [
        ({}, "examples"),
        ({"passages": [passages]}, "examples"),
        ({"examples": [tmp_path / "mined.jsonl"]}, r"\b1 file.*passages.*queries"),
        ({"dataset": tmp_path, "collection": collection}, "data set"),
    ]:
        with pytest.raises(SettingError, match=fact):
            read_training_data(**given)
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path / "none.jsonl"))):
        read_distillation(tmp_path / "none.jsonl", passages, queries)
    with pytest.raises(SettingError, match=r"on_error.*'ignore'"):
        Problems("ignore")


def test_data_are_cached_until_a_file_changes(tmp_path: Path, passages: Path, queries: Path, cache: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text('["q1", ["3", 1], ["4", 2]]')
    read_distillation(file, passages, queries)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    read_distillation(file, passages, queries)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == before
    passages.write_text("3\tanother text\n4\tand one more\n")
    assert texts(read_distillation(file, passages, queries), 0)[1] == ["another text", "and one more"]


@pytest.mark.slow
def test_of_several_processes_one_reads(tmp_path: Path, passages: Path, queries: Path) -> None:
    """Under torchrun all processes start at once. All of them find the data."""
    (tmp_path / "examples.jsonl").write_text('["q1", ["3", 1], ["4", 2]]')
    script = (
        "import os, sys\n"
        'os.environ["HF_DATASETS_CACHE"] = sys.argv[1]\n'
        "from pyterrier_saesplade.training.data import examples, sources\n"
        "write = examples.write_examples\n"
        "sources.write_examples = lambda *given: (print('written'), write(*given))\n"
        "print(len(sources.read_distillation(*sys.argv[2:])))\n"
    )
    arguments = [tmp_path / "processes", tmp_path / "examples.jsonl", passages, queries]
    call = [sys.executable, "-c", script, *map(str, arguments)]
    processes = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = sorted(process.communicate()[0] for process in processes)
    assert printed == ["1\n", "1\n", "written\n1\n"]


def test_tables_find_rows_by_identifier(tmp_path: Path) -> None:
    ids = [f"id {i}" for i in range(25_000)]
    table = TextTable.write(tmp_path / "texts.utf8", ((i, f"text of {i}") for i in ids))
    assert len(table) == 25_000
    assert table.rows(["id 7", "unknown", "id 24999", "id 0"]).tolist() == [7, -1, 24999, 0]
    assert table.texts(np.array([24999, 0])) == ["text of id 24999", "text of id 0"]
    empty = TextTable.write(tmp_path / "empty.utf8", [])
    assert len(empty) == 0
    assert empty.rows(["id 7"]).tolist() == [-1]


class Own(Collection):
    """A custom collection, in memory."""

    name = "own"

    def __init__(self, texts: list[str]) -> None:
        self.documents = [{"docno": f"d{i}", "text": text} for i, text in enumerate(texts)]

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        return iter(self.documents)

    def topics(self, query_set: str | None = None) -> pd.DataFrame:
        return pd.DataFrame({"qid": ["1"], "query": ["one"]})

    def qrels(self, query_set: str | None = None) -> pd.DataFrame:
        return pd.DataFrame({"qid": ["1"], "docno": ["d0"], "label": [1]})


def test_two_collections_may_have_one_name() -> None:
    for text in ("the first", "the other"):
        data = read_labels(Own([text]))
        assert data.passages.texts([0]) == [text]
    assert -(2**63) <= key("a text") < 2**63
