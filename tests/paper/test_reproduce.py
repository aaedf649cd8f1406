"""The paper's tables: their data and commands, and a small table that is really made."""

import functools
import importlib.util
import json
import math
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import ir_datasets
import pytest
import typer.main
from typer.testing import CliRunner

from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import Collection, open_collection
from pyterrier_saesplade.errors import EngineError, SettingError
from pyterrier_saesplade.evaluation.suites import open_suite
from pyterrier_saesplade.metrics import delta_e
from pyterrier_saesplade.paper import Folders, open_tables, reproduce
from pyterrier_saesplade.paper import steps as module
from pyterrier_saesplade.paper.plan import Step, Tables
from pyterrier_saesplade.paper.steps import _command as command_of
from pyterrier_saesplade.training import FinetuneConfig, PretrainConfig

REPOSITORY = Path(__file__).parents[2]
PAPER = open_tables()
IN_THE_REPOSITORY = Folders(Path("paper"), Path("data"), REPOSITORY / "examples" / "paper")
STEPS = {step.name: step for table in PAPER.tables for step in PAPER.plan(table, IN_THE_REPOSITORY)}
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def saesplade(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["reproduce", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


# ---------------------------------------------------------------------- the paper's tables


def test_the_page_is_up_to_date() -> None:
    """`saesplade reproduce --markdown > examples/paper/README.md` writes it, whatever is already on disk."""
    code, printed, _ = saesplade("--markdown")
    assert code == 0
    assert printed == (REPOSITORY / "examples" / "paper" / "README.md").read_text(encoding="utf-8")


def test_only_what_is_known_was_reported() -> None:
    """The figures of a leaderboard page, and three counts of the authors."""
    reported = {
        (table, name): column.reported
        for table, one in PAPER.tables.items()
        for name, column in one.columns.items()
        if column.reported is not None
    }
    assert reported == {
        ("main", "MS MARCO dev RR@10"): 0.382,
        ("main", "TREC DL 19/20 nDCG@10"): 0.723,
        ("main", "LoTTE search S@5"): 0.694,
        ("multilingual", "mMARCO es RR@10"): 0.266,
        ("multilingual", "MIRACL nDCG@10, mean of 6"): 0.475,
        ("meaning", "synonymy"): 8283,
        ("meaning", "polysemy"): 10655,
        ("meaning", "one to one"): 4743,
    }


def test_the_small_figures_are_in_the_documentation() -> None:
    known = (REPOSITORY / "pyterrier_saesplade" / "pt_docs" / "paper.rst").read_text(encoding="utf-8")
    known += (REPOSITORY / "pyterrier_saesplade" / "pt_docs" / "results.rst").read_text(encoding="utf-8")
    figures = {figure for one in PAPER.tables.values() for figure in re.findall(r"\.\d{3}", one.small)}
    assert len(figures) == 18
    assert {figure for figure in figures if figure not in known} == set()


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_command(step: Step) -> None:
    """The program accepts its arguments, and its settings, suites and data sets exist. Nothing is downloaded."""
    program, *arguments = step.words
    if program == "saesplade":
        command = VERBS[arguments.pop(0)]
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
    else:
        script = Path(arguments.pop(0))
        assert script in step.inputs  # otherwise it would be missed only when its turn comes
        command = command_of_script(script)
    given = command.make_context(program, list(arguments)).params
    assert step.prints or Path(given["out"]) == step.path
    for path, place in step.inputs.items():
        assert path.name in PAPER.files if place == "data" else path.is_file()
    for name in step.collections:
        assert ir_datasets.load(name).has_docs()
    for option, value in pairwise(arguments):
        if option == "--queries":
            assert ir_datasets.load(value.removeprefix("irds:")).has_queries()


@pytest.mark.parametrize("table", PAPER.tables)
def test_cells_are_results_of_their_suites(table: str) -> None:
    one, plan = PAPER.table(table), {step.name: step for step in PAPER.plan(table)}
    for column in one.columns.values():
        for run, family in ((run, family) for run in one.rows.values() for family in column.steps):
            words = plan[f"{family}/{run}"].words
            suite = open_suite(words[words.index("--suite") + 1])
            for name in [column.set] if column.set else suite.sets:
                measures = suite.sets[name].measures
                assert column.measure in measures or (column.measure in ("qd_flops", "ΔE") and "RR@10" in measures)
    for step in plan.values():
        for folder in re.findall(r"=(paper/\S+)/msmarco-dev(?: |$)", str(step)):
            assert folder.removeprefix("paper/") in plan
            assert "msmarco-dev" in open_suite(folder.split("/")[1]).sets


def test_every_run_is_trained_with_its_own_file() -> None:
    """An SAE that several models share has the settings of each of their files, and every file is used."""
    used = set()
    for name, step in STEPS.items():
        if name.startswith("model/"):
            words = dict(pairwise(step.words))
            config = Path(words["--config"])
            used.add(config)
            assert config.stem == name.removeprefix("model/")
            start = words["--model"]
            assert start.startswith("splade=") == ("splade" in name)
            if not start.startswith("splade="):
                sae = STEPS[str(Path(start).relative_to("paper"))]
                (of_sae,) = sae.inputs
                assert PretrainConfig.from_yaml(config) == PretrainConfig.from_yaml(of_sae)
    assert used == set(IN_THE_REPOSITORY.configs.glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(IN_THE_REPOSITORY.configs.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_described_work_is_that_of_the_settings(path: Path) -> None:
    pre, fine = PretrainConfig.from_yaml(path), FinetuneConfig.from_yaml(path)
    assert (path.stem.startswith("random")) == (pre.steps == 0)
    if pre.steps:
        passages = f"{pre.steps:,} steps of {pre.batch_documents:,} passages: {pre.steps * pre.batch_documents:,}"  # type: ignore[operator]
        assert PAPER.work["pretrain"].startswith(f"{passages} passages, each of at most {pre.doc_max_length} ")
    passages = f"{fine.steps:,} steps of {fine.batch_queries} queries with {fine.nway} passages"
    total = f"{fine.steps * fine.batch_queries * fine.nway:,}"
    assert PAPER.work["finetune"].startswith(f"{passages}: {total} passages, each of at most {pre.doc_max_length} ")
    assert f"{pre.states_gigabytes:g} GB of disk" in PAPER.hardware


@pytest.mark.parametrize("name", PAPER.downloads)
def test_a_download(name: str) -> None:
    """Its sizes are those in the registry of ir_datasets."""
    known = PAPER.downloads[name]
    if "documents" in known:
        assert ir_datasets.load(name).docs_metadata()["count"] == known["documents"]
    registry = json.loads((Path(ir_datasets.__file__).parent / "etc" / "downloads.json").read_text(encoding="utf-8"))
    first, _, rest = name.partition("/")
    wanted = {
        "msmarco-passage": r"collectionandqueries|queries|train/qrels|trec-dl-20(19|20)/(qrels|queries)",
        "lotte": "source",
        "beir": rest,
        "mmarco": f"{rest}/(docs|queries/.*)",
        "miracl": rf"v1\.0/{rest}/corpus/.*",
    }[first]
    found = dict(leaves(registry[first]))
    size = sum(size for path, size in found.items() if re.fullmatch(wanted, path))
    assert known["megabytes"] == math.ceil(size / 1e6)


@functools.cache
def command_of_script(path: Path) -> Any:
    """The command that a script of the paper runs."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    program = typer.Typer()
    program.command()(script.main)
    return typer.main.get_command(program)


def leaves(node: dict[str, Any], path: str = "") -> list[tuple[str, int]]:
    """Returns the sizes of all downloads below a node, by path."""
    if "url" in node:
        return [(path, node["size_hint"] or 0)]
    below = ((f"{path}/{name}".lstrip("/"), one) for name, one in node.items() if isinstance(one, dict))
    return [leaf for name, one in below for leaf in leaves(one, name)]


def test_the_size_of_every_data_set_is_known() -> None:
    for table in PAPER.tables:
        assert all(PAPER.fetched(PAPER.plan(table)).values())


def test_a_missing_script_is_found_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.subprocess, "run", lambda command, **options: pytest.fail(f"{command} ran"))
    for name in ("configs", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "configs" / "main.yaml").touch()
    for name in PAPER.files:
        (tmp_path / "data" / name).touch()
    options = [option for name in ("configs", "data", "out") for option in (f"--{name}", tmp_path / name)]
    code, _, error = saesplade("meaning", *options)
    assert code == 2
    (line,) = error.splitlines()
    assert str(tmp_path / "configs" / "meaning.py") in line
    assert "--configs" in line


def test_a_suite_is_done_with_its_last_set(tmp_path: Path) -> None:
    """The file of results also exists when only some sets are done."""
    plan = {step.name: step for step in PAPER.plan("main", Folders(tmp_path))}
    step = plan["beir/main"]
    assert not step.is_done
    step.path.mkdir(parents=True)
    beir = list(open_suite("beir").sets)
    for sets, done in ((["scifact"], False), (beir[1:], False), (beir, True)):
        (step.path / "suite.json").write_text(json.dumps({"sets": {name: {} for name in sets}}))
        assert step.is_done is done


def test_names_of_tables_and_errors() -> None:
    code, printed, _ = saesplade()
    assert code == 0
    assert [line.split()[0] for line in printed.splitlines()] == list(PAPER.tables)
    for arguments, facts in [
        (["x"], ["'x'", *PAPER.tables]),
        (["x", "--tables", "nowhere.yaml"], ["nowhere.yaml"]),
        (["k", "--configs", "nowhere"], ["nowhere/k4.yaml", "--configs"]),
        (["k", "--data", "nowhere", "--configs", IN_THE_REPOSITORY.configs], ["nowhere/examples.json", "--data"]),
    ]:
        code, printed, error = saesplade(*arguments)
        assert (code, printed) == (2, "")
        (line,) = error.splitlines()
        assert all(fact in line for fact in facts), line


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("tables: [", ["mine", "YAML"]),
        ("[]", ["mine", "[]"]),
        ("tables: {}", ["mine", "steps"]),
        ("{tables: [], steps: {}}", ["mine", "tables", "[]"]),
        ("{tables: {a: 3}, steps: {}}", ["mine", "table a", "3"]),
        ("{tables: {a: {title: A, rank: 3}}, steps: {}}", ["mine", "table a", "rank", "title, about"]),
        ("{tables: {a: {}}, steps: {}}", ["mine", "table a", "title"]),
        (
            "{tables: {a: {title: A, columns: {b: {steps: c}}}}, steps: {}}",
            ["mine", "table a", "column b", "steps", "'c'"],
        ),
        ("{tables: {a: {title: A, also: [b]}}, steps: {b: rm x}}", [" b ", "saesplade", "python", "'rm'"]),
        ("{tables: {a: {title: A, also: [b]}}, steps: {}}", ["'b'"]),
        ("{tables: {a: {title: A, also: [b]}}, steps: {b: 'saesplade {c}', c: 'saesplade {b}'}}", [" b "]),
        ("{tables: {a: {title: A, also: [b]}}, steps: {b: saesplade $c}}", [" b ", "$c"]),
    ],
)
def test_malformed_files_of_tables(text: str, facts: list[str]) -> None:
    with pytest.raises(SettingError) as error:
        Tables.read(text, "mine").plan("a")
    assert all(fact in str(error.value) for fact in facts), error.value


# ---------------------------------------------------------------------- a table that is made

MINE = """
files: {mined.jsonl: what a teacher found}
options: {small: --set steps=1 --device cpu}
steps:
  both: python LANGUAGES --collection SMALL --collection SMALL --out {this}
  sae/%: >-
    saesplade pretrain --collection {both} --backbone MINILM --config {configs}/%.yaml --width 64 $small --out {this}
  model/%: >-
    saesplade finetune --model {sae/%} --examples {data}/mined.jsonl --passages SMALL --queries SMALL
    --config {configs}/%.yaml $small --out {this}
  result/%: >-
    saesplade evaluate --collection SMALL --model {model/%} --baseline saesplade,k=2 --measure RR@10 --out {this}
  figure.pdf: saesplade plot tradeoff mine={result/tiny} --out {this}
  printed/%.txt: python -c "print('%')" > {this}
  wrong.txt: python -c "print('half'); raise SystemExit(3)" > {this}
tables:
  tiny:
    title: A tiny table
    columns:
      RR@10: {steps: [result], measure: RR@10, reported: 0.5}
      ΔE: {steps: [result], measure: ΔE}
    rows: {mine: tiny}
    figures: [figure.pdf]
  wrong: {title: One that fails, also: [printed/out.txt, wrong.txt]}
"""


@pytest.mark.slow
def test_a_table_is_made(
    collection: Collection, minilm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step runs in its own process. Existing results are not made again, and a failure is reported in one line."""
    script = REPOSITORY / "examples" / "paper" / "languages.py"
    places = {"LANGUAGES": script, "SMALL": collection.folder, "MINILM": minilm_path}  # type: ignore[attr-defined]
    text = re.sub("|".join(places), lambda match: shlex.quote(str(places[match[0]])), MINE)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "tiny.yaml").write_text(
        "pretrain: {batch_documents: 4, doc_max_length: 16}\n"
        "finetune: {batch_queries: 2, nway: 2, eval_steps: 0, calibrate: false}\n"
    )
    options = ["--tables", tmp_path / "mine.yaml", "--out", tmp_path / "out", "--configs", tmp_path]
    options += ["--data", tmp_path / "data"]
    code, plan, _ = saesplade("tiny", *options, "--dry-run")
    assert code == 0
    assert "| mine | `tiny` | | |" in plan
    assert "mined.jsonl`, what a teacher found" in plan
    commands = re.findall(r"^(?:saesplade|python) .*$", plan, re.MULTILINE)
    assert [command.split()[1] for command in commands][1:] == ["pretrain", "finetune", "evaluate", "plot"]
    code, _, error = saesplade("tiny", *options)
    assert (code, list(tmp_path.glob("out"))) == (2, [])
    (line,) = error.splitlines()
    assert all(fact in line for fact in (str(tmp_path / "data" / "mined.jsonl"), "what a teacher found", "--data"))

    (tmp_path / "data").mkdir()
    judged = collection.qrels().groupby("qid").first()["docno"]
    docnos = [document["docno"] for document in collection.get_corpus_iter()]
    lines = [[qid, [docno, 2.0], [next(d for d in docnos if d != docno), 1.0]] for qid, docno in judged.items()]
    (tmp_path / "data" / "mined.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, made, error = saesplade("tiny", *options)
    assert code == 0, error
    assert len(list(open_collection(tmp_path / "out" / "both").get_corpus_iter())) == 2 * len(docnos)
    assert json.loads((tmp_path / "out" / "model" / "tiny" / "config.json").read_text())["width"] == 64
    assert (tmp_path / "out" / "figure.pdf").read_bytes().startswith(b"%PDF")
    row = json.loads((tmp_path / "out" / "result" / "tiny" / "results.json").read_text())[-1]
    assert f"| mine | `tiny` | {row['RR@10']:.3f} | {delta_e(row['RR@10'], row['qd_flops']):.3f} |" in made
    assert "| reported | | 0.500 | |" in made
    assert made.count("# done: ") == 5
    assert saesplade("tiny", *options, "--dry-run")[1] == made

    (tmp_path / "other.yaml").write_text(text.replace("measure: RR@10, reported", "measure: nDCG@10, reported"))
    code, _, error = saesplade("tiny", *options, "--tables", tmp_path / "other.yaml")
    assert code == 2
    assert str(tmp_path / "out" / "result" / "tiny") in error
    assert "nDCG@10" in error

    (tmp_path / "out" / "figure.pdf").unlink()
    ran = counted(module, monkeypatch)
    assert saesplade("tiny", *options)[1] == made
    assert [command[3:5] for command in ran] == [["plot", "tradeoff"]]

    code, printed, error = saesplade("wrong", *options)
    assert (code, printed) == (2, "")
    assert error.splitlines()[-1].startswith("saesplade: wrong.txt ")
    assert re.search(r"exit code 3\b", error.splitlines()[-1])
    assert (tmp_path / "out" / "printed" / "out.txt").read_text() == "out\n"
    assert not list((tmp_path / "out").glob("*wrong*"))
    with pytest.raises(EngineError, match=r"wrong\.txt.*exit code 3\b"):
        reproduce("wrong", tmp_path / "out", tables=tmp_path / "mine.yaml")
    assert len(ran) == 4


def counted(reproducing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Returns a list to which every command that runs is added."""
    ran: list[list[str]] = []
    original = reproducing.subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        ran.append(command)
        return original(command, **options)

    monkeypatch.setattr(reproducing.subprocess, "run", run)
    return ran


def test_trainings_start_on_several_gpus() -> None:
    """Trainings start under torchrun. Evaluations do not."""
    training, evaluation = STEPS["sae/main"], STEPS["msmarco-dev/main"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "8"]
    assert command_of(training, 8) == [*launcher, "-m", "pyterrier_saesplade.cli", *training.words[1:]]
    for step, gpus in ((training, 1), (evaluation, 8)):
        assert command_of(step, gpus) == [sys.executable, "-m", "pyterrier_saesplade.cli", *step.words[1:]]
