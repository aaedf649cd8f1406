"""The page about the architecture is true of the tree: rooms, files, functions, and who may import whom."""

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "pyterrier_saesplade"
PAGE = (PACKAGE / "pt_docs" / "architecture.rst").read_text("utf-8")
LITERALS = set(re.findall(r"``([^`]+)``", PAGE))

#: What is written as code and is not defined in the repository: data, and names of other libraries.
OTHERS = {
    "alpha * log(1 + activation)",
    "c12",
    '{"c12": 0.8}',
    "query_toks",
    "toks",
    "[T, d]",
    "[tokens, M]",
    "[corpus, M]",
    "exact",
    "transformers",
    "Trainer",
    "PreTrainedModel",
    "weights_only=True",
    "pyterrier.artifact",
    "pt.Artifact.load",
    "to_hf",
    "from_hf",
    "lazy_loader",
    "ir_datasets",
    "module:attribute",
    "ValueError",
    "model.retriever(index)",
}


def definitions(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """The names that a module defines: classes, functions, constants, and ``Class.method``."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield owner + node.name
        if isinstance(node, ast.ClassDef):
            yield from definitions(node.body, f"{node.name}.")
        if isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def defined_in(file: Path) -> set[str]:
    return set(definitions(ast.parse(file.read_text("utf-8")).body))


def rows() -> list[list[str]]:
    """The cells of the tables that have a row for each step: step, functions and files."""
    found = re.findall(r"   \* - (.+)\n     - (.+)\n     - (.+)\n", PAGE)
    return [list(row) for row in found if row[0] != "step"]


def test_every_room_and_root_module_is_named() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert rooms | modules <= set(re.findall(r"^   \* - ``(.+)``$", PAGE, re.MULTILINE))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_the_functions_of_a_step_are_in_its_files(row: list[str]) -> None:
    _, functions, files = row
    defined = set[str]().union(*(defined_in(PACKAGE / file) for file in re.findall(r"``(.+?)``", files)))
    for function in re.findall(r"``(.+?)``", functions):
        if "and others" in files:  # the method of a base class, which each of the files overrides
            method = function.partition(".")[2]
            assert any(name.endswith(f"ConceptIndex.{method}") for name in defined), function
        else:
            assert function in defined, function


def test_everything_in_code_exists() -> None:
    names = set[str]()
    for package in ("pyterrier_saesplade", "pyserini_bridge"):
        for file in (REPOSITORY / package).rglob("*.py"):
            names |= defined_in(file)
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    for literal in LITERALS - OTHERS:
        is_file = (PACKAGE / literal).exists() or (REPOSITORY / literal).exists()
        is_target = literal.startswith("make ") and f"\n{literal[5:]}:" in makefile
        assert literal in names or is_file or is_target or literal.startswith("saesplade"), literal
    assert OTHERS <= LITERALS, "a name that the page no longer has"


def test_the_layers_are_those_of_the_contract() -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    contract = setup["importlinter:contract:layers"]["layers"].split("\n")
    (shown,) = re.findall(r"\.\. code-block:: text\n\n((?:    .+\n)+)", PAGE)
    assert shown.split() == " ".join(contract).split()
