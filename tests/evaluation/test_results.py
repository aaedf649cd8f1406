"""Reading folders of results: with few files, with all files, of suites, and folders that hold no results."""

import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.evaluation import (
    differences,
    joined,
    precision_at_recall,
    read_comparison,
    read_log,
    read_results,
    read_runs,
    read_summary,
    read_sweep,
)

COSTS = {"index_mb": 1.0, "mrt": 2.0, "encode_ms_per_query": 1.5, "retrieve_ms_per_query": 0.5, "build_seconds": 3.0}
ROWS = [
    {"name": "bm25", "RR@10": 0.6, "AP": 0.3, "qd_flops": 1.25, **COSTS},
    {"name": "dense", "RR@10": 0.7, "AP": 0.2, "qd_flops": None, **COSTS},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison with ``results.json`` only."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "results.json").write_text(json.dumps(ROWS))
    return made


def test_older_results(folder: Path) -> None:
    [results] = read_results(folder)
    assert results.title == "made"
    assert results.measures == ["RR@10", "AP"]
    assert results.systems == ["bm25", "dense"]
    assert results.table["qd_flops"].isna().tolist() == [False, True]
    assert results.perquery is None
    with pytest.raises(DataError, match=r"made\b.*perquery\.csv"):
        differences(results, "AP", "dense", "bm25")


def test_all_files(folder: Path) -> None:
    """Identifiers stay strings, whatever they look like. Differences are taken between values of the same query."""
    (folder / "about.json").write_text(json.dumps({"title": "docs: 2 documents", "measures": ["AP"], "notes": ["n"]}))
    lines = ["bm25,01,AP,0.5", "bm25,NA,AP,0.25", "dense,NA,AP,1.0", "dense,01,AP,0.25"]
    (folder / "perquery.csv").write_text("\n".join(["name,qid,measure,value", *lines]) + "\n")
    [results] = read_results(folder)
    assert results.title == "docs: 2 documents"
    assert results.measures == ["AP"]
    assert results.about["notes"] == ["n"]
    assert differences(results, "AP", "dense", "bm25").to_dict() == {"NA": 0.75, "01": -0.25}
    with pytest.raises(SettingError, match=r"'RR'.*\bAP\b"):
        differences(results, "RR", "dense", "bm25")
    with pytest.raises(SettingError, match=r"'bm52'.*\bbm25, dense\b"):
        differences(results, "AP", "dense", "bm52")


def test_other_queries_are_not_compared(folder: Path) -> None:
    (folder / "perquery.csv").write_text("name,qid,measure,value\nbm25,1,AP,0.5\ndense,2,AP,0.5\n")
    with pytest.raises(DataError, match=r"made\b.*\bdense\b.*\bbm25\b"):
        differences(read_results(folder)[0], "AP", "dense", "bm25")


def test_a_suite(tmp_path: Path) -> None:
    """The means come first. A set's own files are used where they exist."""
    sets = {name: {"title": f"{name}: 5 documents", "measures": ["AP"], "rows": ROWS} for name in ("a", "b")}
    about = {"date": "2026-01-01", "notes": {"a": ["n"]}}
    suite = {"suite": "small", "sets": sets, "mean": ROWS, "about": about}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "perquery.csv").write_text("name,qid,measure,value\nbm25,1,AP,0.5\n")
    (tmp_path / "b" / "about.json").write_text(json.dumps({"command": "saesplade evaluate"}))
    mean, a, b = read_results(tmp_path)
    assert (mean.title, mean.measures, mean.about["date"]) == ("small: mean of 2 sets", ["RR@10", "AP"], "2026-01-01")
    assert (a.title, a.measures, a.perquery) == ("a: 5 documents", ["AP"], None)
    assert (b.title, b.about["command"]) == ("b: 5 documents", "saesplade evaluate")
    assert b.values("AP", "bm25").to_dict() == {"1": 0.5}
    assert "notes" not in mean.about
    assert read_summary(tmp_path).title == mean.title
    one_of = re.escape(f"{tmp_path / 'a'}, {tmp_path / 'b'}")
    with pytest.raises(SettingError, match=one_of):
        read_comparison(tmp_path)
    # Sets that share no measure have no mean.
    (tmp_path / "suite.json").write_text(json.dumps(suite | {"mean": [{"name": "bm25"}], "about": {"measures": []}}))
    assert [results.title for results in read_results(tmp_path)] == ["a: 5 documents", "b: 5 documents"]
    with pytest.raises(SettingError, match=re.escape(str(tmp_path))):
        read_summary(tmp_path)
    with pytest.raises(SettingError, match=one_of):
        read_comparison(tmp_path)
    (tmp_path / "b" / "results.json").write_text(json.dumps(ROWS))
    assert read_comparison(tmp_path / "b").values("AP", "bm25").to_dict() == {"1": 0.5}


@pytest.mark.parametrize(
    ("files", "kind", "facts"),
    [
        ({}, PathNotFoundError, ["results.json"]),
        ({"results.json": "[{"}, DataError, ["results.json", "JSON"]),
        ({"results.json": "{}"}, DataError, ["results.json"]),
        ({"results.json": "[{}]"}, DataError, ["results.json", "name"]),
        ({"results.json": json.dumps(ROWS), "about.json": '{"measures": ["P@5"]}'}, DataError, ["P@5"]),
        (
            {"results.json": json.dumps(ROWS), "perquery.csv": "name,qid\n"},
            DataError,
            ["perquery.csv", "measure", "value"],
        ),
        ({"suite.json": '{"suite": "x"}'}, DataError, ["suite.json", "KeyError('sets')"]),
    ],
)
def test_folders_without_results(
    tmp_path: Path, files: dict[str, str], kind: type[Exception], facts: list[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(kind) as error:
        read_results(tmp_path)
    assert str(tmp_path) in str(error.value)
    message = str(error.value).replace(str(tmp_path), "")
    assert all(fact in message for fact in facts), message


def test_a_given_name_replaces_that_of_the_compared_model(folder: Path) -> None:
    [results] = read_results(folder)
    table = joined([("a", results), (None, results)], "AP")
    assert table["name"].tolist() == ["bm25", "a", "bm25", "dense"]
    assert results.systems == ["bm25", "dense"]
    (folder / "results.json").write_text(json.dumps([{"name": "bm25", "AP": 0.5}]))
    with pytest.raises(DataError, match=r"made\b.*QD-FLOPs"):
        joined([(None, read_results(folder)[0])], "AP")
    with pytest.raises(SettingError, match=r"made\b.*P@5.*RR@10, AP"):
        joined([("a", results)], "P@5")


def test_runs(folder: Path) -> None:
    (folder / "runs").mkdir()
    for name in ("bm25", "dense"):
        with gzip.open(folder / "runs" / f"{name}.trec.gz", "wt") as file:
            file.write("q1 Q0 d1 0 2.5 tag\nq1 Q0 d2 1 0.5 tag\n")
    (name, run), _ = read_runs(read_results(folder)[0])
    assert name == "bm25"
    assert run[["qid", "docno", "score"]].values.tolist() == [["q1", "d1", 2.5], ["q1", "d2", 0.5]]
    # One relevant document is ranked first. The other one is not found.
    qrels = pd.DataFrame({"qid": ["q1", "q1"], "docno": ["d1", "d3"], "label": [1, 1]})
    assert precision_at_recall(run, qrels) == [1.0] * 6 + [0.0] * 5
    (folder / "runs" / "dense.trec.gz").unlink()
    with pytest.raises(PathNotFoundError, match=r"dense\.trec\.gz"):
        list(read_runs(read_results(folder)[0]))


def test_judgements_of_queries_that_were_not_run(folder: Path) -> None:
    """They are left out. With them the curve would be half as high."""
    qrels = pd.DataFrame({"qid": ["q1", "q2"], "docno": ["d1", "d1"], "label": [1, 1]})
    with pytest.raises(DataError, match=r"made\b.*perquery\.csv"):
        read_results(folder)[0].matching_qrels(qrels)
    (folder / "perquery.csv").write_text("name,qid,measure,value\nbm25,q1,AP,1.0\ndense,q1,AP,1.0\n")
    [results] = read_results(folder)
    run = pd.DataFrame({"qid": ["q1"], "docno": ["d1"], "score": [1.0]})
    assert precision_at_recall(run, qrels) == [0.5] * 11
    assert precision_at_recall(run, results.matching_qrels(qrels)) == [1.0] * 11
    with pytest.raises(DataError, match=r"'q1'.*made\b"):
        results.matching_qrels(qrels.tail(1))


def test_the_table_of_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text("name,k,AP,qd_flops\nsae,4,0.5,1.5\n")
    assert read_sweep(path, "AP").to_dict("records") == [{"name": "sae", "k": 4.0, "qd_flops": 1.5, "AP": 0.5}]
    with pytest.raises(DataError, match=r"k\.csv.*\bname, k, qd_flops and P@5"):
        read_sweep(path, "P@5")
    with pytest.raises(PathNotFoundError, match=r"absent\.csv"):
        read_sweep(tmp_path / "absent.csv", "AP")
    path.write_text("name,k,AP,qd_flops\nsae,four,0.5,1.5\n")
    with pytest.raises(DataError, match=r"k\.csv.*\bname, k, qd_flops and AP.*'four'"):
        read_sweep(path, "AP")


def test_the_log_of_a_training(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match=rf"{re.escape(str(tmp_path))}\b.*training\.json"):
        read_log(tmp_path)
    (tmp_path / "training.json").write_text('{"log": []}')
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "training.json"))):
        read_log(tmp_path)
    (tmp_path / "training.json").write_text('{"log": [{"step": 1}]}')
    assert read_log(tmp_path) == [{"step": 1}]
