"""A test collection that every Python installation holds: the docstrings of its libraries.

Known-item search: the first line of a docstring is a query, the rest of it the one document that answers it. The
sources are parsed, never imported.
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
"""The packages that are read beside the standard library; one that is not installed is passed over."""

_NOT_READ = frozenset({"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo"})
_MIN_QUERY_WORDS = 4
_MIN_DOCUMENT_WORDS = 30


class Docstring(NamedTuple):
    """A documented module, class or function: its dotted name, the first line, and the rest."""

    name: str
    summary: str
    body: str


def docstring_collection(
    folder: str | os.PathLike[str], *, documents: int = 4000, queries: int = 300, seed: int = 0
) -> Collection:
    """Return the collection in `folder`, made from the installed libraries if the folder is not there yet.

    The same libraries and seed make the same files. Delete the folder to have it made anew, with other sizes or after
    libraries were updated.

    Args:
        folder: Where the collection is kept.
        documents: How many documents are drawn.
        queries: For how many of them the first line becomes a query.
        seed: Seed of both draws.

    Raises:
        ValueError: There are more queries than documents, or fewer docstrings installed than `documents`.
    """
    if Path(folder).exists():
        return FolderCollection(folder)
    if queries > documents:
        raise SettingError(f"each query needs its document: {queries} queries from {documents} documents")
    found = sorted(installed_docstrings())
    if len(found) < documents:
        raise DataError(
            f"the installed libraries hold {len(found)} docstrings, and {documents} were asked for: "
            f"ask for fewer, or install more of {', '.join(LIBRARIES)}"
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
        return FolderCollection(folder)  # another process was faster, of torchrun's for one


def installed_docstrings() -> Iterator[Docstring]:
    """Yield the public docstrings of the standard library and of `LIBRARIES`, without duplicates.

    A docstring counts if its first line has four words at least and the rest thirty. Of those that share a name, a
    first line or a rest, the first is taken.
    """
    seen: set[tuple[str, str]] = set()
    for package, folder in _packages():
        for file in sorted(folder.rglob("*.py")):
            path = file.relative_to(folder).with_suffix("")
            if _is_public(path.parent):
                for docstring in _docstrings(file, ".".join((*package, *path.parts)).removesuffix(".__init__")):
                    # beside its field's name: a first line that equals another docstring's name is no duplicate
                    keys = set(zip(docstring._fields, docstring, strict=True))
                    if seen.isdisjoint(keys):
                        yield docstring
                    seen |= keys


def _is_public(package: Path) -> bool:
    # files with an underscore stay: half of scipy's documented functions live in such
    return not any(part in _NOT_READ or part.startswith("_") for part in package.parts)


def _packages() -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield the start of the dotted names and the folder of each source tree."""
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
    except (SyntaxError, UnicodeDecodeError):  # templates, and sources for another version of Python
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
