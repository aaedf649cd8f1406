"""The README that goes to a hub with an index or a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Long lists, which are in the package anyway.
_LEFT_OUT = ("pieces", "parts")


def brief(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns an artifact's metadata as far as people read them."""
    return {name: value for name, value in (metadata or {}).items() if name not in _LEFT_OUT}


def opening(model: str, *imports: str) -> str:
    """Returns Python that opens a model, of which an artifact knows what ``str()`` says; or nothing."""
    if not model.startswith("SaeSplade."):
        return ""
    return f"from pyterrier_saesplade import {', '.join(['SaeSplade', *imports])}\n\nmodel = {model}\n"


def fill_readme(readme: str, *, description: str, usage: str, reproduction: str) -> str:
    """Fills in the README that PyTerrier makes for an artifact.

    Args:
        readme: PyTerrier's, whose sections say what is to do.
        description: What the artifact is, in Markdown.
        usage: Python that follows the line in which ``artifact`` is loaded.
        reproduction: Python that made it; empty if that is not known.

    Returns:
        The README, without sections of which nothing is known; that on benchmarks is one.
    """
    head, *sections = re.split(r"^(?=## )", readme, flags=re.MULTILINE)
    filled = {
        "Description": f"## Description\n\n{description}\n\n",
        "Benchmarks": "",
        "Reproduction": f"## Reproduction\n\n```python\n{reproduction}\n```\n\n" if reproduction else "",
    }
    texts = [filled.get(section[3:].split("\n")[0], section) for section in sections]
    return (head + "".join(texts)).replace("# TODO: Show how you use the artifact", usage)
