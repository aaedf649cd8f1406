"""The README that is uploaded to the hub with an index or a store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Long lists that the package contains anyway.
_LEFT_OUT = ("pieces", "parts")


def brief(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns an artifact's metadata without the fields that are too long to read.

    Examples:
        >>> brief({"model": "mine", "pieces": ["##s"]})
        {'model': 'mine'}
    """
    return {name: value for name, value in (metadata or {}).items() if name not in _LEFT_OUT}


def opening(model: str, *imports: str) -> str:
    """Returns Python code that loads the model with this ``str()``, or an empty string if that is not possible."""
    if not model.startswith("SaeSplade."):
        return ""
    return f"from pyterrier_saesplade import {', '.join(['SaeSplade', *imports])}\n\nmodel = {model}\n"


def fill_readme(readme: str, *, description: str, usage: str, reproduction: str) -> str:
    """Fills in the README template that PyTerrier generates for an artifact.

    Args:
        readme: PyTerrier's template.
        description: What the artifact is, in Markdown.
        usage: Python code to follow the line that loads ``artifact``.
        reproduction: Python code that built the artifact; empty if unknown.

    Returns:
        The README without the sections that cannot be filled in, such as the one on benchmarks.
    """
    head, *sections = re.split(r"^(?=## )", readme, flags=re.MULTILINE)
    filled = {
        "Description": f"## Description\n\n{description}\n\n",
        "Benchmarks": "",
        "Reproduction": f"## Reproduction\n\n```python\n{reproduction}\n```\n\n" if reproduction else "",
    }
    texts = [filled.get(section[3:].split("\n")[0], section) for section in sections]
    return (head + "".join(texts)).replace("# TODO: Show how you use the artifact", usage)
