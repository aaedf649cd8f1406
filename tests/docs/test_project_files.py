"""What the files of the project's root say of each other is true."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

import pyterrier_saesplade

REPOSITORY = Path(__file__).parents[2]
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files_and_targets_exist(name: str) -> None:
    text = (REPOSITORY / name).read_text("utf-8")
    links = [link for link in re.findall(r"\]\((.+?)\)", text) if not link.startswith("https://")]
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS


def test_workflows_call_targets_on_every_supported_python() -> None:
    commands, pythons = set[str](), set[str]()
    for file in WORKFLOWS:
        for job in yaml.safe_load(file.read_text("utf-8"))["jobs"].values():
            matrix = job.get("strategy", {}).get("matrix", {})
            pythons |= set(matrix.get("python", ()))
            commands |= set(matrix.get("command", ()))
            for step in job["steps"]:
                commands |= set(re.findall(r"^make ([a-z-]+)", step.get("run", "")))
    assert commands == {"check", "test", "docs"} <= TARGETS
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    assert pythons == set(re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"]))


def test_hooks_are_those_of_make_lint() -> None:
    (local,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    for hook in local["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/").removesuffix(" --fix")
        assert f"$(BIN)/{command}" in MAKEFILE


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == pyterrier_saesplade.__version__
    (paper,) = citation["references"]
    index = (REPOSITORY / "pyterrier_saesplade" / "pt_docs" / "index.rst").read_text("utf-8")
    assert paper["title"].partition(":")[0] in index
    assert paper["doi"] in index
    assert all(author["family-names"] in index for author in paper["authors"])


def test_the_changelog_names_the_version() -> None:
    headings = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1].split()[0] == pyterrier_saesplade.__version__
