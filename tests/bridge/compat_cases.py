"""Workarounds for Pyserini. A test fails if the installed Pyserini no longer needs one. `test_compat` runs them."""

import ast
import importlib
import importlib.util
import os
import sys
from importlib.metadata import requires, version
from pathlib import Path
from types import ModuleType

import pytest

from pyserini_bridge import compat, jvm

#: Releases from 2.2 on import no client of OpenAI and no faiss.
OLD = compat._release("pyserini") < compat._PYSERINI_LAZY
PYSERINI = Path(importlib.util.find_spec("pyserini").submodule_search_locations[0])  # type: ignore[union-attr, index]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of packages that replace those of the installed ones."""
    pretended: dict[str, str] = {}
    monkeypatch.setattr(compat, "version", lambda package: pretended.get(package) or version(package))
    return pretended


@pytest.fixture
def java_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm, "start", lambda: None)


def test_pyserini_makes_a_client_of_openai_when_it_is_imported() -> None:
    """It does so at the top level, without a key. If this fails, the pin of openai can be removed."""
    module = ast.parse((PYSERINI / "encode" / "_openai.py").read_text())
    top_level = [ast.unparse(statement) for statement in module.body if not isinstance(statement, ast.ClassDef)]
    assert any("openai.OpenAI(api_key=api_key" in statement for statement in top_level) == OLD
    assert any(line.startswith("openai<2.34;") for line in requires("pyterrier_saesplade") or [])


@pytest.mark.usefixtures("java_runs")
def test_a_key_where_openai_requires_one(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    compat.prepare()
    assert "OPENAI_API_KEY" not in os.environ  # neither the pinned openai nor a new Pyserini needs one
    versions["pyserini"] = "1.6.0"
    versions["openai"] = "3.54.0"
    monkeypatch.setenv("OPENAI_API_KEY", "somebody's")
    compat.prepare()
    assert os.environ["OPENAI_API_KEY"] == "somebody's"
    monkeypatch.delenv("OPENAI_API_KEY")
    compat.prepare()
    assert os.environ.pop("OPENAI_API_KEY") == "unused"
    versions["pyserini"] = "2.4.0"
    assert not compat.needs_openai_key()


def test_pyserini_encode_imports_faiss() -> None:
    module = ast.parse((PYSERINI / "encode" / "__main__.py").read_text())
    imports = [ast.unparse(statement) for statement in module.body if isinstance(statement, ast.ImportFrom)]
    assert any("from pyserini.encode.optional import Faiss" in statement for statement in imports) == OLD
    module = ast.parse((PYSERINI / "encode" / "optional" / "_faiss.py").read_text())
    assert "import faiss" in map(ast.unparse, module.body)


@pytest.mark.usefixtures("java_runs")
def test_a_stub_where_faiss_is_not_installed(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    versions["pyserini"] = "1.6.0"
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "faiss" else find_spec(name))
    monkeypatch.setitem(sys.modules, "faiss", ModuleType("before"))
    compat.prepare()
    assert sys.modules["faiss"].__name__ == "faiss"


@pytest.mark.usefixtures("java_runs")
def test_a_stub_where_the_list_of_indexes_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in 2.4 without a network."""
    assert ("urlopen" in (PYSERINI / "prebuilt_index_info.py").read_text()) != OLD
    assert not OLD or not compat.needs_index_info()

    def no_network(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(importlib, "import_module", no_network)
    monkeypatch.setitem(sys.modules, compat._INDEX_INFO, None)
    compat.prepare()
    from pyserini.prebuilt_index_info import FAISS_INDEX_INFO, IMPACT_INDEX_INFO, TF_INDEX_INFO

    assert FAISS_INDEX_INFO == IMPACT_INDEX_INFO == TF_INDEX_INFO == {}
