"""Docstrings in Google's style, and references from them that are checked against the code.

A name that Sphinx does not know, because it is on no page of the reference or belongs to another package, is looked up
as Python would from the documented object: if it exists, the reference is fine, and leads to the page that has the
object under another name, if one does. Nothing is looked up online.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util import inspect
from sphinx.util.nodes import make_refnode

#: Where names are looked up that a module does not have itself: exceptions of functions that it calls, classes that it
#: imports for the type checker alone, and Python's own.
_MODULES = ("pyterrier_saesplade.errors", "pyterrier.validate", "pyterrier_saesplade.engines", "builtins")

_NAPOLEON = Config(napoleon_use_rtype=False)


def _read_google_style(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Reads the sections. For an attribute Napoleon would take what stands before a colon for its type."""
    lines[:] = GoogleDocstring(lines, _NAPOLEON, app, "class" if what == "class" else "method", name, obj).lines()


def _constructor(
    app: Sphinx, what: str, name: str, obj: type, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Returns the signature of ``__init__``: that of a transformer would be that of PyTerrier's ``__new__``."""
    if what != "class" or signature != "(*args, **kwargs)":
        return signature, returns
    constructor = inspect.signature(obj.__init__, bound_method=True)  # type: ignore[misc]
    return inspect.stringify_signature(constructor, show_return_annotation=False, unqualified_typehints=True), None


def _resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element) -> Any:
    """Returns a link, or the plain name where the object has no page, or ``None`` if there is no such object."""
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
    """Yields what a name can mean, where it stands: from the inside to the outside."""
    target = node["reftarget"]
    for owner in _owners(node):
        yield f"{owner}.{target}"
    yield target
    for module in _MODULES:
        yield f"{module}.{target}"


def _owners(node: nodes.Node) -> Iterator[str]:
    """Yields the objects whose description holds a node, and the modules where these and their base classes are."""
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


def _look_up(name: str) -> Any:
    """Returns what a full name means; ``None`` if there is no such thing, or it exists in instances alone."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return None


@cache
def _documented(env: BuildEnvironment) -> dict[Any, str]:
    """Returns the names that pages have for classes, functions and methods."""
    names = [name for name, entry in env.domains.python_domain.objects.items() if entry.objtype != "attribute"]
    return {_key(_look_up(name)): name for name in names}


def _key(found: Any) -> Any:
    """Identifies an object, whatever it is imported as."""
    found = getattr(found, "fget", found)
    return getattr(found, "__module__", None), getattr(found, "__qualname__", repr(found))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects them to Sphinx."""
    app.connect("autodoc-process-docstring", _read_google_style)
    app.connect("autodoc-process-signature", _constructor)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
