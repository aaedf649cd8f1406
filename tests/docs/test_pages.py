"""What the prose of the pages says of options, settings and files is true of the code."""

import dataclasses
import re
import textwrap
from pathlib import Path

import pytest
import typer.main

from pyterrier_saesplade import FinetuneConfig, PretrainConfig, open_suite
from pyterrier_saesplade.cli import app

REPOSITORY = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text("utf-8") for path in (REPOSITORY / "pyterrier_saesplade" / "pt_docs").glob("*.rst")}
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

#: Options of other programs: torchrun, Slurm, Pyserini; and those of every command.
_OTHERS = {
    "cluster": {"--gpus-per-node", "--nnodes", "--nodes", "--nproc-per-node", "--ntasks-per-node"}
    | {"--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"},
    "engines": {"--array"},
    "how-to": {"--bm25"},
    "pyserini": {"--encoder", "--generator", "--hits", "--impact", "--input", "--min-idf", "--output", "--pretokenized"}
    | {"--threads", "--vectors"},
}
_EVERYWHERE = {"--debug", "--help"}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_options_and_verbs_exist(page: str) -> None:
    commands = [*VERBS.values(), *VERBS["plot"].commands.values()]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", PAGES[page]))
    assert named - known - _EVERYWHERE - _OTHERS.get(page, set()) == set()
    assert set(re.findall(r"``saesplade ([a-z]+)", PAGES[page])) <= VERBS.keys()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_settings_of_trainings_exist(page: str) -> None:
    known = {field.name for config in (PretrainConfig, FinetuneConfig) for field in dataclasses.fields(config)}
    assert set(re.findall(r"--set '?([a-z_]+)=", PAGES[page])) <= known


def test_the_suite_of_the_page_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"\.\. code-block:: yaml\n\n((?:        .*\n|\n)+)", PAGES["suites"])
    (tmp_path / "my-suite.yaml").write_text(textwrap.dedent(block), encoding="utf-8")
    suite = open_suite(tmp_path / "my-suite.yaml")
    assert list(suite.sets) == ["manuals", "late", "arguments", "handbuch"]
    assert suite.sets["late"].query_set == "late"
    assert suite.sets["arguments"].ignore_identical_ids
    assert suite.sets["arguments"].doc_max_length == 128
