"""A test collection that every Python installation contains: the docstrings of its libraries.

The task is known-item search: the first line of a docstring is a query, and the rest of it is the only relevant
document. The source files are parsed, never imported.
"""

import ast
import importlib.util
import os
import random
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pyterrier_saesplade.collections.base import Collection
from pyterrier_saesplade.collections.folder import FolderCollection, write_collection
from pyterrier_saesplade.errors import DataError, SettingError

LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "torch", "sklearn")
"""The packages that are read as well as the standard library; those that are not installed are skipped."""

_NOT_READ = frozenset({"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo"})
_MIN_QUERY_WORDS = 4
_MIN_DOCUMENT_WORDS = 30


class Docstring(NamedTuple):
    """A documented module, class or function: its dotted name, and the first line and the rest of its docstring."""

    name: str
    summary: str
    body: str


def docstring_collection(
    folder: str | os.PathLike[str], *, documents: int = 4000, queries: int = 300, seed: int = 0
) -> Collection:
    """Opens the collection in a folder, which is created from the installed libraries if it does not exist.

    The same libraries, sizes and seed give the same files. To create the collection again, with other sizes or after
    libraries were updated, delete the folder.

    Args:
        folder: The folder of the collection.
        documents: The number of documents to sample.
        queries: The number of documents whose first line becomes a query.
        seed: The random seed.

    Raises:
        SettingError: If there are more queries than documents.
        DataError: If the installed libraries have fewer docstrings than ``documents``.
    """
    if Path(folder).exists():
        return FolderCollection(folder)
    if queries > documents:
        raise SettingError(
            f"cannot make {queries} queries from {documents} documents: each query needs a different document"
        )
    found = sorted(installed_docstrings())
    if len(found) < documents:
        raise DataError(
            f"the installed libraries have {len(found)} docstrings, fewer than the {documents} requested: "
            f"request fewer, or install more of {', '.join(LIBRARIES)}"
        )
    draw = random.Random(seed)
    drawn = draw.sample(found, documents)
    asked = draw.sample(drawn, queries)
    qids = [f"q{number}" for number in range(1, queries + 1)]
    try:
        return write_collection(
            folder,
            ({"docno": docstring.name, "text": docstring.body} for docstring in drawn),
            pd.DataFrame({"qid": qids, "query": [docstring.summary for docstring in asked]}),
            pd.DataFrame({"qid": qids, "docno": [docstring.name for docstring in asked], "label": 1}),
        )
    except OSError:
        if not Path(folder).exists():
            raise
        return FolderCollection(folder)  # another process, such as one of torchrun's, was faster


def installed_docstrings() -> Iterator[Docstring]:
    """Yields the public docstrings of the standard library and of :data:`LIBRARIES`, without duplicates.

    A docstring is included if its first line has at least four words and the rest has at least thirty. Of several that
    share a name, a first line or the rest, only the first is included.
    """
    seen: set[tuple[str, str]] = set()
    for package, folder in _packages():
        for file in sorted(folder.rglob("*.py")):
            path = file.relative_to(folder).with_suffix("")
            if _is_public(path.parent):
                for docstring in _docstrings(file, ".".join((*package, *path.parts)).removesuffix(".__init__")):
                    # Paired with the name of the field, because only equal values of the same field are duplicates.
                    keys = set(zip(docstring._fields, docstring, strict=True))
                    if seen.isdisjoint(keys):
                        yield docstring
                    seen |= keys


def _is_public(package: Path) -> bool:
    # Only folders are checked: half of scipy's documented functions are in files that begin with an underscore.
    return not any(part in _NOT_READ or part.startswith("_") for part in package.parts)


def _packages() -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yields the prefix of the dotted names, and the folder, of each source tree."""
    yield (), Path(sysconfig.get_path("stdlib"))
    for library in LIBRARIES:
        spec = importlib.util.find_spec(library)
        if spec is not None and spec.origin is not None:
            yield (library,), Path(spec.origin).parent


def _docstrings(file: Path, module: str) -> Iterator[Docstring]:
    try:
        with warnings.catch_warnings(), tokenize.open(file) as source:
            warnings.simplefilter("ignore", SyntaxWarning)  # other people's invalid escapes
            tree = ast.parse(source.read())
    except (SyntaxError, UnicodeDecodeError):  # templates, and source files for other versions of Python
        return
    for name, docstring in _documented(tree, module):
        summary, _, rest = docstring.partition("\n")
        body = rest.split()
        if len(summary.split()) >= _MIN_QUERY_WORDS and len(body) >= _MIN_DOCUMENT_WORDS:
            yield Docstring(name, " ".join(summary.split()), " ".join(body))


def _documented(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator[tuple[str, str]]:
    docstring = ast.get_docstring(node)
    if docstring:
        yield name, docstring
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                yield from _documented(child, f"{name}.{child.name}")
