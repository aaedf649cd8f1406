"""Every example of the docstrings runs, in an empty folder, and prints what it says."""

import ast
import doctest
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_saesplade
from pyterrier_saesplade.evaluation.systems import kinds
from pyterrier_saesplade.evaluation.systems.registry import kinds as kinds_of_systems

REPOSITORY = Path(__file__).parents[2]
CONFTEST = ast.parse(Path(__file__).with_name("conftest.py").read_text("utf-8"))
FIXTURES = {node.name for node in CONFTEST.body if isinstance(node, ast.FunctionDef)}

#: Models on the hub, and the fixtures of those that take their place.
HUB = {
    "distilbert-base-uncased": "minilm_path",
    "naver/splade-v3": "splade_path",
    "colbert-ir/colbertv2.0": "colbert_path",
}

#: What starts Java or another server, or trains a model: names, folders, engines, and an indexer without an engine.
_SLOW = re.compile(
    r"\bbm25\b(?!\")|\bterrier\b|my-(comparison|suite|lucene-index)|evaluate|mine_collection|build_index"
    r"|\"(anserini|milvus)\"\)\.|\b(pretrain|finetune)\(|\.indexer\(\"[^\"]*\"\)"
)


class Example(NamedTuple):
    """The docstring of a module, a class or a function."""

    module: str
    name: str
    docstring: str
    file: str
    line: int

    @property
    def source(self) -> str:
        """The code, without what it prints."""
        return "".join(one.source for one in doctest.DocTestParser().get_examples(self.docstring))

    @property
    def doctest(self) -> doctest.DocTest:
        full_name = ".".join(filter(None, [self.module, self.name]))
        return doctest.DocTestParser().get_doctest(self.docstring, {}, full_name, self.file, self.line)


def documented() -> Iterator[Example]:
    """Every docstring of both packages; nothing is imported for that."""
    for package in ("pyterrier_saesplade", "pyserini_bridge"):
        for file in sorted((REPOSITORY / package).rglob("*.py")):
            module = ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
            yield from _within(ast.parse(file.read_text("utf-8")), module, "", str(file))


def _within(node: ast.Module | ast.ClassDef | ast.FunctionDef, module: str, name: str, file: str) -> Iterator[Example]:
    if docstring := ast.get_docstring(node):
        yield Example(module, name, docstring, file, node.body[0].lineno - 1)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _within(child, module, f"{name}.{child.name}".lstrip("."), file)


DOCUMENTED = list(documented())
EXAMPLES = [example for example in DOCUMENTED if ">>> " in example.docstring]
# PyLate has an environment of its own: make test-colbert
if importlib.util.find_spec("pylate") is None:
    EXAMPLES = [example for example in EXAMPLES if not example.module.endswith((".colbert", ".plaid"))]


def cases() -> Iterator[Any]:
    for example in EXAMPLES:
        marks = [pytest.mark.slow] if _SLOW.search(example.source) else []
        yield pytest.param(example, id=example.doctest.name, marks=marks)


@pytest.mark.parametrize("example", list(cases()))
def test_example(
    example: Example, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    kinds_of_systems()  # imports their files, which declare them; an example declares another
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))
    test = example.doctest
    for one in test.examples:
        for name, fixture in HUB.items():
            if f'"{name}"' in one.source:
                one.source = one.source.replace(f'"{name}"', repr(str(request.getfixturevalue(fixture))))
    source = "".join(one.source for one in test.examples)
    for name in set(re.findall(r"\bmy-[a-z-]+", source)) & {name.replace("_", "-") for name in FIXTURES}:
        (tmp_path / name).symlink_to(request.getfixturevalue(name.replace("-", "_")))
    java = pt.java.started()
    test.globs = namespace(example, source, request)
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not failed, "".join(said)
    if request.node.get_closest_marker("slow") is None:
        assert pt.java.started() == java, "it starts Java: it has to be marked as slow"


def namespace(example: Example, source: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The names of the module, the package's public ones, three libraries, and the fixtures that the example names."""
    free = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    public = {name: getattr(pyterrier_saesplade, name) for name in free & set(pyterrier_saesplade.__all__)}
    shared = {name: request.getfixturevalue(name) for name in free & FIXTURES}
    libraries = {"np": np, "pd": pd, "pt": pt, "Path": Path}
    module = importlib.import_module(example.module)
    return libraries | public | imported_for_types(example) | vars(module) | shared


def imported_for_types(example: Example) -> dict[str, Any]:
    """The names that the module imports for its annotations only."""
    names: dict[str, Any] = {}
    for node in ast.parse(Path(example.file).read_text("utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), example.file, "exec"), names)
    return names


def test_every_public_name_has_an_example() -> None:
    shown = {f"{example.module}.{example.name}" for example in DOCUMENTED if ">>> " in example.docstring}
    for name in pyterrier_saesplade.__all__:
        found = getattr(pyterrier_saesplade, name)
        full_name = f"{found.__module__}.{found.__qualname__}"
        assert any(one == full_name or one.startswith(f"{full_name}.") for one in shown), f"{name} has no example"


def test_no_example_is_skipped() -> None:
    assert [example.name for example in DOCUMENTED if "+SKIP" in example.docstring] == []
