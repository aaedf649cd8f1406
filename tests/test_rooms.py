"""The rooms of the package export what their stubs list, and all errors form one tree."""

import ast
import importlib
import pkgutil
import types
from pathlib import Path

import pytest

import pyterrier_saesplade
from pyterrier_saesplade import errors

ROOT = Path(pyterrier_saesplade.__file__).parent
STUBS = sorted(ROOT.rglob("__init__.pyi"))


def exported(stub: Path) -> dict[str, str]:
    """The names of a stub and their modules. The module of a submodule is the empty string."""
    imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.parent.relative_to(ROOT.parent).as_posix())
def test_every_exported_name_exists(stub: Path) -> None:
    """Also after modules of the same name were imported: a function is never replaced by its module."""
    package = ".".join(stub.parent.relative_to(ROOT.parent).parts)
    room = importlib.import_module(package)
    for module in pkgutil.iter_modules([str(stub.parent)]):
        if module.name != "__main__":
            importlib.import_module(f"{package}.{module.name}")
    names = exported(stub)
    assert names
    assert set(room.__all__) == set(names)
    for name, module in names.items():
        assert isinstance(getattr(room, name), types.ModuleType) == (not module), name


def test_errors_form_one_tree() -> None:
    """The docstring shows all classes, and no other file defines an error."""
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert all(issubclass(value, errors.SaespladeError) for value in classes.values())
    assert errors.__doc__ is not None
    for name, value in classes.items():
        assert f"{name} (" in errors.__doc__ or f" {name} " in errors.__doc__ or value is errors.SaespladeError
    others = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and file.name != "errors.py"
    ]
    assert others == ["engines/lucene/process.py: _DiedError"]  # is caught in that file
