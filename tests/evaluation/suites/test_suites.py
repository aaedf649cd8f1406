"""Suites: their data, their results, and how they resume."""

import functools
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import ir_datasets
import pandas as pd
import pytest
from typer.testing import CliRunner

from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import Collection, write_collection
from pyterrier_saesplade.errors import DataError, PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.evaluation import evaluate
from pyterrier_saesplade.evaluation.results import COSTS
from pyterrier_saesplade.evaluation.suites import Suite, SuiteSet, evaluate_suite, open_suite, run, suite_names
from pyterrier_saesplade.metrics import parse_measures
from pyterrier_saesplade.saesplade import SaeSplade

BEIR = ["arguana", "climate-fever", "dbpedia-entity", "fever", "fiqa", "hotpotqa", "nfcorpus", "nq", "quora"]
BEIR += ["scidocs", "scifact", "trec-covid", "webis-touche2020"]
MEASURES = ["nDCG@10", "AP"]


@pytest.fixture(scope="module")
def folder(small_collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two collections, one of them a level deeper, and with folders that are not collections."""
    folder = tmp_path_factory.mktemp("suites") / "mine"
    documents, qrels = list(small_collection.get_corpus_iter()), small_collection.qrels()
    for name, kept in (("all", documents), ("parts/half", documents[:30])):
        known = qrels[qrels["docno"].isin([document["docno"] for document in kept])]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_collection(folder / name, kept, small_collection.topics(), known)
    (folder / "notes").mkdir()
    shutil.copytree(folder / "all", folder / "unjudged").joinpath("qrels.txt").unlink()
    return folder


@pytest.fixture(scope="module")
def done(folder: Path, untrained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of that suite."""
    out = tmp_path_factory.mktemp("suite") / "out"
    results = evaluate_suite(folder, str(untrained_model), out, baselines=["bm25"], measures=MEASURES)
    assert read(out / "suite.json") == json.loads(json.dumps(vars(results)))
    return out


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------- data


@pytest.mark.parametrize("name", suite_names())
def test_data_sets_exist(name: str) -> None:
    """The installed ir_datasets knows them, with all parts that an evaluation needs. Nothing is downloaded."""
    for one in open_suite(name).sets.values():
        assert one.collection.startswith("irds:")
        dataset = ir_datasets.registry[one.collection.removeprefix("irds:")]
        assert dataset.has_docs()
        assert dataset.has_queries()
        assert dataset.has_qrels()
        assert parse_measures(one.measures)
        assert one.doc_max_length == 256
        assert one.query_max_length in (32, 256)


def test_the_suites_are_those_of_the_paper() -> None:
    beir = open_suite("beir").sets
    assert list(beir) == BEIR
    assert {name for name, one in beir.items() if one.query_max_length == 256} == {"arguana", "climate-fever"}
    assert {name for name, one in beir.items() if one.ignore_identical_ids} == {"arguana", "quora"}
    counts = {"webis-touche2020": 49, "dbpedia-entity": 400, "nq": 3452, "arguana": 1406}  # of BEIR's paper
    for name, count in counts.items():
        metadata = ir_datasets.registry[beir[name].collection.removeprefix("irds:")].metadata()
        assert metadata["queries"]["count"] == count
    official = {"msmarco-dev": "RR@10", "trec-dl-19": "nDCG@10", "mmarco": "RR@10", "miracl": "nDCG@10"}
    official |= {"beir": "nDCG@10", "lotte-search": "Success@5", "lotte-forum": "Success@5", "trec-dl-20": "nDCG@10"}
    assert {name: next(iter(open_suite(name).sets.values())).measures[0] for name in suite_names()} == official
    assert "rel=2" not in str(official)
    for measure in open_suite("trec-dl-20").sets["trec-dl-20"].measures[1:]:
        assert "rel=2" in measure
    domains = ["writing", "recreation", "science", "technology", "lifestyle"]
    assert [*open_suite("lotte-search").sets] == [*open_suite("lotte-forum").sets] == domains


def test_one_set_of_a_suite() -> None:
    assert list(open_suite("beir/scifact").sets) == ["scifact"]
    assert open_suite("mmarco-zh").sets["zh"].collection == "irds:mmarco/v2/zh/dev/small"
    assert open_suite("miracl/sw").sets["sw"].measures[0] == "nDCG@10"
    for name in ("beir/trec", "beir-", "mmarco-en", "cqadupstack"):
        with pytest.raises(SettingError) as error:
            open_suite(name)
        assert all(known in str(error.value) for known in (repr(name), *suite_names()))
    with pytest.raises(SettingError) as error:
        open_suite("beir").only(["msmarco"])
    assert all(known in str(error.value) for known in ("beir", "'msmarco'", *BEIR))


def test_a_folder_is_a_suite(folder: Path) -> None:
    suite = open_suite(folder)
    assert suite.name == "mine"
    assert list(suite.sets) == ["all", "parts/half"]
    assert suite.sets["parts/half"] == SuiteSet(collection=str(folder / "parts" / "half"))
    for name in ("all", "notes"):  # a collection, and a folder without one
        with pytest.raises(SettingError, match=re.escape(str(folder / name))):
            open_suite(folder / name)


def test_a_file_is_a_suite(folder: Path) -> None:
    """Folders are relative to the file. The settings of a set go before those of all sets."""
    file = folder / "mine.yaml"
    file.write_text(
        "measures: ['P@5']\ndoc_max_length: 50\nsets:\n  a: {collection: all, doc_max_length: 20}\n"
        "  b/c: {collection: 'irds:beir/nq', measures: [RR(rel=2)@10], query_set: x}\n"
    )
    suite = open_suite(file)
    assert suite.sets["a"] == SuiteSet(collection=str(folder / "all"), measures=("P@5",), doc_max_length=20)
    assert suite.sets["b/c"].measures == ("RR(rel=2)@10",)
    assert suite.sets["b/c"].doc_max_length == 50
    assert suite.sets["b/c"].query_set == "x"


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("sets: [", ["YAML"]),
        ("measures: [AP]", ["sets:"]),
        ("sets: {a: all}", [" a", "'all'"]),
        ("sets: {a: {}}", [" a", "collection"]),
        ("sets: {a: {collection: all, depth: 3}}", [" a", "depth", "collection, "]),
        ("sets: {a: {collection: all, doc_max_length: 0}}", [" a", "doc_max_length", "0"]),
        ("sets: {a: {collection: all, ignore_identical_ids: 1}}", [" a", "ignore_identical_ids", "1"]),
        ("sets: {a: {collection: all, query_set: 2019}}", [" a", "query_set", "2019"]),
        ("sets: {a: {collection: all, measures: AP}}", [" a", "measures", "'AP'"]),
        ("sets: {a: {collection: all, measures: [speed]}}", [" a", "'speed'"]),
        ("sets: {no: {collection: all}}", ["False"]),
        ("sets: {../a: {collection: all}}", ["'../a'"]),
        ("sets: {indexes: {collection: all}}", ["'indexes'"]),
    ],
)
def test_malformed_files_of_suites(text: str, facts: list[str], tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(SettingError) as error:
        open_suite(tmp_path / "suite.yaml")
    message = str(error.value)
    assert str(tmp_path / "suite.yaml") in message
    assert all(fact in message.replace(str(tmp_path), "") for fact in facts), message


# ---------------------------------------------------------------------- results


@pytest.mark.slow
def test_a_set_is_what_its_collection_is(folder: Path, done: Path, untrained_model: Path, tmp_path: Path) -> None:
    """A set has the results of an evaluation of its folder, except for times."""
    evaluate(folder / "parts" / "half", untrained_model, tmp_path, baselines=["bm25"], measures=MEASURES)
    of_set = done / "parts" / "half"
    columns = ["name", *MEASURES, "qd_flops"]
    rows = read(of_set / "results.json")
    pd.testing.assert_frame_equal(
        pd.DataFrame(rows)[columns], pd.DataFrame(read(tmp_path / "results.json"))[columns], check_exact=True
    )
    assert (of_set / "perquery.csv").read_bytes() == (tmp_path / "perquery.csv").read_bytes()
    assert read(done / "suite.json")["sets"]["parts/half"]["rows"] == rows


@pytest.mark.slow
def test_the_mean_is_the_mean_of_the_sets(done: Path) -> None:
    suite = read(done / "suite.json")
    assert suite["suite"] == "mine"
    assert [row["name"] for row in suite["mean"]] == ["bm25", "saesplade"]
    for position, mean in enumerate(suite["mean"]):
        assert list(mean) == ["name", *MEASURES, *COSTS]
        for column in [*MEASURES, "qd_flops", "index_mb"]:
            values = [one["rows"][position][column] for one in suite["sets"].values()]
            assert mean[column] == pytest.approx(sum(values) / 2, abs=1e-12)
    first, second = (one["rows"] for one in suite["sets"].values())
    assert all(first[1][measure] != second[1][measure] for measure in MEASURES)  # or the test would be blind
    assert suite["about"]["measures"] == MEASURES
    assert suite["sets"]["all"]["title"].startswith("all: 60 documents")
    assert suite["sets"]["parts/half"]["title"].startswith("parts/half (half: ")  # two sets may share a collection


def test_means_over_what_is_shared() -> None:
    """Measures and systems that a set lacks have no mean."""
    costs = dict.fromkeys(COSTS, 2.0)
    dense = costs | {"qd_flops": None}
    one = (["AP", "RR"], [{"name": "a", "AP": 0.2, "RR": 1.0, **costs}, {"name": "b", "AP": 0.1, "RR": 0.5, **costs}])
    other = (["P@5", "AP"], [{"name": "b", "AP": 0.3, "P@5": 0.5, **dense}])
    rows, measures = run._means([one, other])
    assert (rows, measures) == ([{"name": "b", "AP": pytest.approx(0.2), **dense}], ["AP"])
    sets = {
        "x": dict(zip(("measures", "rows"), one, strict=True)) | {"significance": {"b": "-"}},
        "y": dict(zip(("measures", "rows"), other, strict=True)) | {"significance": {}},
    }
    results = run.SuiteResults("s", sets, rows, {})
    assert list(results.table) == ["x AP", "y P@5"]
    title, _, _, a, b, _, note = str(results).splitlines()
    assert title == "s: AP, P@5 of 2 set(s)"
    assert a.split() == ["a", "0.200"]
    assert b.split() == ["b", "0.100-", "0.500", "2.0", "2.0"]
    assert note.startswith("+ and -: significantly above and below a ")


def test_significance_is_tested_by_one_measure_against_one_system(tmp_path: Path) -> None:
    """This works for any qid, although pandas reads some of these as missing values."""
    values = {"bm25": [0.1] * 9, "better": [0.3 + i / 100 for i in range(9)], "like": [0.1] * 8 + [0.2]}
    qids = ["NA", "null", *map(str, range(7))]
    rows = [(name, qid, "AP", value) for name, all_ in values.items() for qid, value in zip(qids, all_, strict=True)]
    rows += [(name, qid, "RR", 0.5) for name in values for qid in qids]
    (tmp_path / "results.json").write_text(json.dumps([{"name": name, "AP": 0.1, "RR": 0.5} for name in values]))
    pd.DataFrame(rows, columns=["name", "qid", "measure", "value"]).to_csv(tmp_path / "perquery.csv", index=False)
    assert run._significance(tmp_path, "AP", "bm25") == {"better": "+", "like": ""}
    assert run._significance(tmp_path, "AP", "better") == {"bm25": "-", "like": "-"}


@pytest.mark.slow
def test_a_suite_resumes_after_a_crash(
    folder: Path, done: Path, untrained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished sets are not changed, and the interrupted set is evaluated again."""
    out = shutil.copytree(done, tmp_path / "out")
    for name in ("suite.json", "parts/half/results.json"):  # the last that are moved into place
        (out / name).unlink()
    before = (out / "all" / "results.json").stat().st_mtime_ns
    results = evaluate_suite(folder, str(untrained_model), out, baselines=["bm25"], measures=MEASURES)
    assert (out / "all" / "results.json").stat().st_mtime_ns == before
    measured = ["name", *MEASURES, "qd_flops", "index_mb", "build_seconds"]  # times of searches differ
    means = (pd.DataFrame(rows)[measured] for rows in (results.mean, read(done / "suite.json")["mean"]))
    pd.testing.assert_frame_equal(*means)

    def evaluated(*arguments: object, **options: object) -> None:
        raise AssertionError("all is done")

    monkeypatch.setattr(run, "evaluate", evaluated)
    again = evaluate_suite(folder, str(untrained_model), out, baselines=["bm25"], measures=MEASURES)
    assert again.sets == results.sets


@pytest.mark.slow
def test_a_set_leaves_the_others_in_the_results(
    folder: Path, done: Path, untrained_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A set that is evaluated alone joins the finished sets with the same settings, in the suite's order."""
    out = tmp_path / "out"
    common = {"baselines": ["bm25"], "measures": MEASURES, "indexes": done / "indexes"}
    alone = evaluate_suite(folder, str(untrained_model), out, sets=["parts/half"], **common)
    assert list(alone.sets) == ["parts/half"]
    both = evaluate_suite(folder, str(untrained_model), out, sets=["all"], **common)
    assert list(both.sets) == list(read(out / "suite.json")["sets"]) == ["all", "parts/half"]
    assert both.sets["parts/half"] == alone.sets["parts/half"]
    again = evaluate_suite(folder, str(untrained_model), out, sets=["parts/half"], overwrite=True, **common)
    assert list(again.sets) == ["all", "parts/half"]
    assert [row["AP"] for row in again.mean] == [row["AP"] for row in both.mean]
    assert warnings(caplog) == []

    other = evaluate_suite(
        folder, str(untrained_model), out, sets=["all"], overwrite=True, **(common | {"measures": ["AP"]})
    )
    assert list(other.sets) == ["all"]
    (warning,) = warnings(caplog)
    assert "parts/half" in warning
    assert str(out / "suite.json") in warning


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings of this package."""
    records = (record for record in caplog.records if record.name.startswith("pyterrier_saesplade"))
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def test_a_part_of_a_suite_knows_the_whole(folder: Path) -> None:
    beir = open_suite("beir")
    assert open_suite("beir/scifact").whole == beir.only(["nq", "fiqa"]).whole == beir.whole == beir
    mine = open_suite(folder)
    assert mine.only(["all"]).whole == mine.only(["all"])
    assert Suite("beir", mine.sets).whole == Suite("beir", mine.sets)


@pytest.mark.slow
def test_other_settings_are_not_mixed(folder: Path, done: Path, untrained_model: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    common = {"baselines": ["bm25"], "measures": MEASURES}
    for changed in ({"measures": ["AP"]}, {"baselines": []}, {"k": 2}, {"query_max_length": 9}, {"doc_max_length": 9}):
        with pytest.raises(PathExistsError, match=re.escape(str(out / "all"))):
            evaluate_suite(folder, str(untrained_model), out, **(common | changed))
    other = Suite("other", open_suite(folder).sets)
    with pytest.raises(PathExistsError, match=rf"{re.escape(str(out))}.*\bmine\b.*\bother\b"):
        evaluate_suite(other, str(untrained_model), out, **common)
    results = evaluate_suite(
        folder, str(untrained_model), out, sets=["all"], baselines=[], measures=["AP"], overwrite=True
    )
    assert results.mean == [results.sets["all"]["rows"][0]]
    names = {path.name for path in (done / "indexes").iterdir()}
    assert {path.name for path in (out / "indexes").iterdir()} == names  # none was built again


@pytest.mark.slow
def test_lengths_of_a_set_and_of_the_call(folder: Path, untrained_model: Path, tmp_path: Path) -> None:
    """A set's lengths go before the model's, and the lengths of the call go before the set's."""
    one = SuiteSet(collection=str(folder / "all"), doc_max_length=16, query_max_length=8, measures=("AP",))
    for out, given, lengths in ((tmp_path / "a", {}, (16, 8)), (tmp_path / "b", {"query_max_length": 5}, (16, 5))):
        evaluate_suite(Suite("s", {"x": one}), str(untrained_model), out, baselines=[], indexes=tmp_path / "i", **given)
        settings = read(out / "x" / "about.json")["settings"]
        expected = SaeSplade.from_pretrained(untrained_model, doc_max_length=lengths[0]).fingerprint
        vectors, queries = settings["systems"]["saesplade"]
        assert expected in vectors
        assert queries == f"queries cut at {lengths[1]}"
    assert len(list((tmp_path / "i").glob("saesplade-*"))) == 1


def test_errors_are_raised_before_any_work(folder: Path, untrained_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingError, match=r"model.*backbone"):
        evaluate_suite(folder, None, out)
    with pytest.raises(PathNotFoundError, match="nowhere-parts/half"):
        evaluate_suite(folder, "nowhere-{set}", out, sets=["parts/half"])
    with pytest.raises(SettingError, match="'bm52'"):
        evaluate_suite(folder, None, out, pretrain="a-backbone", baselines=["bm52"])
    with pytest.raises(SettingError, match="'irds:beir/nothing'"):
        evaluate_suite(Suite("s", {"x": SuiteSet(collection="irds:beir/nothing")}), str(untrained_model), out)
    assert not out.exists()


def test_a_data_set_that_cannot_be_downloaded(
    folder: Path, untrained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ir_datasets raises a RuntimeError when all sources of a download fail. It becomes an error of this package."""

    def unreachable(self: Collection, query_set: str | None = None) -> None:
        raise RuntimeError("All download sources failed")

    monkeypatch.setattr("pyterrier_saesplade.collections.FolderCollection.topics", unreachable)
    with pytest.raises(DataError, match=r"\ball\b.*All download sources failed"):
        evaluate_suite(folder, str(untrained_model), tmp_path / "out", sets=["all"])


@pytest.mark.slow
def test_the_command_evaluates_a_suite(folder: Path, untrained_model: Path, tmp_path: Path) -> None:
    """A model for each set, the printed table, and invalid arguments."""

    def saesplade(*arguments: object) -> tuple[int, str]:
        given = [str(argument) for argument in arguments]
        result = CliRunner().invoke(app, ["evaluate", *given], catch_exceptions=False)
        return result.exit_code, result.stdout or result.stderr

    models = tmp_path / "models"
    shutil.copytree(untrained_model, models / "all")
    shutil.copytree(untrained_model, models / "parts" / "half")
    suite = ["--suite", folder, "--out", tmp_path / "out", "--baseline", "bm25"]
    code, printed = saesplade(*suite, "--model", f"{models}/{{set}}", "--measure", "AP")
    assert code == 0, printed
    rows = read(tmp_path / "out" / "suite.json")
    shown = [line.split() for line in printed.splitlines() if line.startswith(("bm25", "saesplade"))]
    for line, mean in zip(shown, rows["mean"], strict=True):
        assert line[0] == mean["name"]
        assert line[-4] == f"{mean['AP']:.3f}"  # before three costs
    assert rows["about"]["command"].startswith("saesplade ")

    for arguments, facts in (
        (["--out", "x", "--model", "x"], ["--collection", "--suite"]),
        (["--out", "x", "--model", "x", "--suite", "x", "--collection", "x"], ["--collection", "--suite"]),
        (["--out", "x", "--model", "x", "--suite", "nothing"], ["'nothing'"]),
        (["--out", "x", "--model", "x", "--collection", "x", "--only", "x"], ["--only"]),
        (["--out", "x", "--collection", "x"], ["--model"]),
        (["--out", "x", "--suite", folder], ["model", "backbone"]),
    ):
        code, printed = saesplade(*arguments)
        assert code == 2
        (line,) = printed.splitlines()
        assert all(fact in line for fact in facts), line


@pytest.mark.slow
def test_a_model_is_trained_for_each_set(minilm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trained once. The next call uses it again, and refuses a model of another backbone."""
    monkeypatch.setattr(SaeSplade, "pretrain", functools.partial(SaeSplade.pretrain, width=64, steps=3))
    write_collection(
        tmp_path / "suite" / "tiny",
        [{"docno": f"d{i}", "text": f"text {i} about sparse vectors and number {i * i}"} for i in range(12)],
        pd.DataFrame({"qid": ["q"], "query": ["number 9"]}),
        pd.DataFrame({"qid": ["q"], "docno": ["d3"], "label": [1]}),
    )
    out = tmp_path / "out"
    given = {"pretrain": str(minilm_path), "baselines": [], "measures": ["AP"]}
    first = evaluate_suite(tmp_path / "suite", None, out, **given)
    model = SaeSplade.from_pretrained(out / "tiny" / "model")
    assert model.fingerprint in read(out / "tiny" / "about.json")["settings"]["systems"]["saesplade"][0]
    assert evaluate_suite(tmp_path / "suite", None, out, **given).sets == first.sets
    with pytest.raises(SettingError, match=rf"{re.escape(str(out / 'tiny' / 'model'))}.*\belsewhere\b"):
        evaluate_suite(tmp_path / "suite", None, out, **(given | {"pretrain": "elsewhere"}))


@pytest.mark.slow
def test_one_set_of_a_suite_in_a_file(
    collection_folder: Callable[[str], Path], random_model_path: Path, tmp_path: Path
) -> None:
    """A real collection (or the docstrings) in a suite's file. The other set is not touched."""
    cranfield = collection_folder("cranfield")
    file = tmp_path / "real.yaml"
    file.write_text(
        f"measures: [nDCG@10]\nsets:\n  deep/real: {{collection: '{cranfield}'}}\n"
        "  never: {collection: 'irds:beir/nq'}\n"
    )
    results = evaluate_suite(file, str(random_model_path), tmp_path / "out", sets=["deep/real"], baselines=["bm25"])
    assert list(results.table) == ["deep/real", "mean"]
    if cranfield.name == "cranfield":  # the figure of its read-me, with other stop words
        assert results.table["mean"]["bm25"] == pytest.approx(0.352, abs=0.05)
    assert (tmp_path / "out" / "deep" / "real" / "runs" / "bm25.trec.gz").exists()
