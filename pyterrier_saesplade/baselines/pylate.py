"""PyLate, which runs ColBERT checkpoints, is an extra."""

from __future__ import annotations

import importlib.util

from pyterrier_saesplade.errors import MissingPackageError


def require_pylate() -> None:
    """Raises an :exc:`ImportError` that names the extra, unless PyLate is installed."""
    if importlib.util.find_spec("pylate") is None:
        raise MissingPackageError(
            "ColBERT needs PyLate: pip install 'pyterrier_saesplade[colbert]', in an environment of its own if other "
            "packages need later releases of torch or transformers than PyLate allows"
        )
