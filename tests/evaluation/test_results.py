"""Folders of results, read again: those of old, those with all files, suites, and what is none."""

import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest

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
    """A comparison without the files that came later."""
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
    with pytest.raises(ValueError, match=r"made has no perquery.csv, the values of each query: evaluate again"):
        differences(results, "AP", "dense", "bm25")


def test_all_files(folder: Path) -> None:
    """Identifiers stay texts, whatever they look like; the differences are of the same query."""
    (folder / "about.json").write_text(json.dumps({"title": "docs: 2 documents", "measures": ["AP"], "notes": ["n"]}))
    lines = ["bm25,01,AP,0.5", "bm25,NA,AP,0.25", "dense,NA,AP,1.0", "dense,01,AP,0.25"]
    (folder / "perquery.csv").write_text("\n".join(["name,qid,measure,value", *lines]) + "\n")
    [results] = read_results(folder)
    assert results.title == "docs: 2 documents"
    assert results.measures == ["AP"]
    assert results.about["notes"] == ["n"]
    assert differences(results, "AP", "dense", "bm25").to_dict() == {"NA": 0.75, "01": -0.25}
    with pytest.raises(ValueError, match="has no 'RR'; known are: AP"):
        differences(results, "RR", "dense", "bm25")
    with pytest.raises(ValueError, match="has no 'bm52'; known are: bm25, dense"):
        differences(results, "AP", "dense", "bm52")


def test_other_queries_are_not_compared(folder: Path) -> None:
    (folder / "perquery.csv").write_text("name,qid,measure,value\nbm25,1,AP,0.5\ndense,2,AP,0.5\n")
    with pytest.raises(ValueError, match="dense and bm25 were not run on the same queries"):
        differences(read_results(folder)[0], "AP", "dense", "bm25")


def test_a_suite(tmp_path: Path) -> None:
    """The means first; a set's own files are used where they are."""
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
    one_of = re.escape(f"is a suite: name the folder of a set, one of {tmp_path / 'a'}, {tmp_path / 'b'}")
    with pytest.raises(ValueError, match=one_of):
        read_comparison(tmp_path)
    # Sets without a measure in common have no mean.
    (tmp_path / "suite.json").write_text(json.dumps(suite | {"mean": [{"name": "bm25"}], "about": {"measures": []}}))
    assert [results.title for results in read_results(tmp_path)] == ["a: 5 documents", "b: 5 documents"]
    with pytest.raises(ValueError, match="share no measure, so that it has no means: name the folder of a set"):
        read_summary(tmp_path)
    with pytest.raises(ValueError, match=one_of):
        read_comparison(tmp_path)
    (tmp_path / "b" / "results.json").write_text(json.dumps(ROWS))
    assert read_comparison(tmp_path / "b").values("AP", "bm25").to_dict() == {"1": 0.5}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no results.json: it is no folder that `saesplade evaluate` wrote"),
        ({"results.json": "[{"}, "results.json is no JSON"),
        ({"results.json": "{}"}, "results.json is not as `saesplade evaluate` writes it"),
        ({"results.json": "[{}]"}, "results.json has no systems with names"),
        ({"results.json": json.dumps(ROWS), "about.json": '{"measures": ["P@5"]}'}, "has no P@5, of which"),
        ({"results.json": json.dumps(ROWS), "perquery.csv": "name,qid\n"}, "perquery.csv has no column measure, value"),
        ({"suite.json": '{"suite": "x"}'}, "suite.json is not as .* writes it: KeyError"),
    ],
)
def test_what_is_no_result(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_results(tmp_path)


def test_a_name_is_the_compared_models(folder: Path) -> None:
    [results] = read_results(folder)
    table = joined([("a", results), (None, results)], "AP")
    assert table["name"].tolist() == ["bm25", "a", "bm25", "dense"]
    assert results.systems == ["bm25", "dense"]
    (folder / "results.json").write_text(json.dumps([{"name": "bm25", "AP": 0.5}]))
    with pytest.raises(ValueError, match=r"made has no QD-FLOPs: evaluate again"):
        joined([(None, read_results(folder)[0])], "AP")
    with pytest.raises(ValueError, match=r"made has no measure P@5; known are: RR@10, AP"):
        joined([("a", results)], "P@5")


def test_runs(folder: Path) -> None:
    (folder / "runs").mkdir()
    for name in ("bm25", "dense"):
        with gzip.open(folder / "runs" / f"{name}.trec.gz", "wt") as file:
            file.write("q1 Q0 d1 0 2.5 tag\nq1 Q0 d2 1 0.5 tag\n")
    (name, run), _ = read_runs(read_results(folder)[0])
    assert name == "bm25"
    assert run[["qid", "docno", "score"]].values.tolist() == [["q1", "d1", 2.5], ["q1", "d2", 0.5]]
    # Of two relevant documents one is first, the other is not found.
    qrels = pd.DataFrame({"qid": ["q1", "q1"], "docno": ["d1", "d3"], "label": [1, 1]})
    assert precision_at_recall(run, qrels) == [1.0] * 6 + [0.0] * 5


def test_judgements_of_queries_that_were_not_run(folder: Path) -> None:
    """They are left out; with them the curve would be half as high."""
    qrels = pd.DataFrame({"qid": ["q1", "q2"], "docno": ["d1", "d1"], "label": [1, 1]})
    with pytest.raises(ValueError, match=r"made has no perquery.csv, the values of each query: evaluate again"):
        read_results(folder)[0].matching_qrels(qrels)
    (folder / "perquery.csv").write_text("name,qid,measure,value\nbm25,q1,AP,1.0\ndense,q1,AP,1.0\n")
    [results] = read_results(folder)
    run = pd.DataFrame({"qid": ["q1"], "docno": ["d1"], "score": [1.0]})
    assert precision_at_recall(run, qrels) == [0.5] * 11
    assert precision_at_recall(run, results.matching_qrels(qrels)) == [1.0] * 11
    with pytest.raises(ValueError, match=r"the query 'q1' of .*made has no judgements here: name the collection and"):
        results.matching_qrels(qrels.tail(1))


def test_the_table_of_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text("name,k,AP,qd_flops\nsae,4,0.5,1.5\n")
    assert read_sweep(path, "AP").to_dict("records") == [{"name": "sae", "k": 4.0, "qd_flops": 1.5, "AP": 0.5}]
    with pytest.raises(ValueError, match=r"k.csv must have the columns name, k, qd_flops and P@5"):
        read_sweep(path, "P@5")
    path.write_text("name,k,AP,qd_flops\nsae,four,0.5,1.5\n")
    with pytest.raises(ValueError, match="must have the columns"):
        read_sweep(path, "AP")


def test_the_log_of_a_training(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no training.json"):
        read_log(tmp_path)
    (tmp_path / "training.json").write_text('{"log": []}')
    with pytest.raises(ValueError, match="holds no log: the model was not trained"):
        read_log(tmp_path)
    (tmp_path / "training.json").write_text('{"log": [{"step": 1}]}')
    assert read_log(tmp_path) == [{"step": 1}]
