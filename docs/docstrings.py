"""Docstrings in Google's style, and references from them that are checked against the code.

Sphinx does not know names that are on no page of the reference, or that belong to another package. Such a name is
looked up as Python would do it, starting at the documented object. If it exists, the reference is valid. It becomes a
link if a page documents the object under another name. Nothing is looked up online.
"""

from __future__ import annotations

import ast
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util import inspect
from sphinx.util.nodes import make_refnode

#: Where to look for names that the module itself lacks: exceptions of functions that it calls, classes that it imports
#: for the type checker only, and built-ins.
_MODULES = ("pyterrier_saesplade.errors", "pyterrier.validate", "pyterrier_saesplade.engines", "builtins")

_NAPOLEON = Config(napoleon_use_rtype=False)


def _read_google_style(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Reads the sections. Attributes are read as methods: Napoleon would take the text before a colon as their type."""
    lines[:] = GoogleDocstring(lines, _NAPOLEON, app, "class" if what == "class" else "method", name, obj).lines()


def _constructor(
    app: Sphinx, what: str, name: str, obj: type, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Returns the signature of ``__init__``: Sphinx would show that of ``__new__`` for PyTerrier's transformers."""
    if signature and "<factory>" in signature:  # a dataclass's default, which Sphinx cannot parse
        return signature.replace("<factory>", "..."), returns
    if what != "class" or signature != "(*args, **kwargs)":
        return signature, returns
    constructor = inspect.signature(obj.__init__, bound_method=True)  # type: ignore[misc]
    return inspect.stringify_signature(constructor, show_return_annotation=False, unqualified_typehints=True), None


def _resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element) -> Any:
    """Returns a link, the plain name if the object has no page, or ``None`` if there is no such object."""
    if node.get("refdomain") != "py":
        return None
    for name in _candidates(node):
        found = _look_up(name)
        if found is None:
            continue
        documented = _documented(env).get(_key(found))
        if documented is None:
            return content
        entry = env.domains.python_domain.objects[documented]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, documented)
    return None


def _candidates(node: addnodes.pending_xref) -> Iterator[str]:
    """Yields the full names that a name can stand for at its place, from the inner scope to the outer one."""
    target = node["reftarget"]
    first, dot, rest = target.partition(".")
    for owner in _owners(node):
        yield f"{owner}.{target}"
        if first in (imported := _imported_for_types(owner)):
            yield f"{imported[first]}{dot}{rest}"
    yield target
    for module in _MODULES:
        yield f"{module}.{target}"


def _owners(node: nodes.Node) -> Iterator[str]:
    """Yields the objects whose description contains a node, and the modules of these objects and their base classes."""
    ancestor = node.parent
    while ancestor is not None:
        if isinstance(ancestor, addnodes.desc):
            signature = ancestor[0]
            if signature.get("module"):
                owner = f"{signature['module']}.{signature['fullname']}"
                yield owner
                described = _look_up(owner)
                described = getattr(described, "fget", described)  # a property's function
                for base in getattr(described, "__mro__", (described,)):
                    yield getattr(base, "__module__", "builtins")
        ancestor = ancestor.parent


@cache
def _imported_for_types(module: str) -> dict[str, str]:
    """Returns what a module imports for the type checker only: the full names by the names in the module."""
    source = getattr(sys.modules.get(module), "__file__", None)
    if source is None or not source.endswith(".py"):
        return {}
    return {
        alias.asname or alias.name: alias.name if isinstance(line, ast.Import) else f"{line.module}.{alias.name}"
        for block in ast.parse(Path(source).read_text("utf-8")).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for line in block.body
        if isinstance(line, ast.Import | ast.ImportFrom)
        for alias in line.names
    }


def _look_up(name: str) -> Any:
    """Returns the object of a full name; ``None`` if there is none, or if only instances have it."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return None


@cache
def _documented(env: BuildEnvironment) -> dict[Any, str]:
    """Returns the names under which pages document classes, functions and methods."""
    names = [name for name, entry in env.domains.python_domain.objects.items() if entry.objtype != "attribute"]
    return {_key(_look_up(name)): name for name in names}


def _key(found: Any) -> Any:
    """Identifies an object, whatever name it is imported under."""
    found = getattr(found, "fget", found)
    return getattr(found, "__module__", None), getattr(found, "__qualname__", repr(found))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the functions to Sphinx."""
    app.connect("autodoc-process-docstring", _read_google_style)
    app.connect("autodoc-process-signature", _constructor)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
