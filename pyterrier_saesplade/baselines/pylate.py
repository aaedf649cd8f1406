"""Checks that PyLate, the optional package that runs ColBERT checkpoints, is installed."""

from __future__ import annotations

import importlib.util

from pyterrier_saesplade.errors import MissingPackageError


def require_pylate() -> None:
    """Raises a :exc:`MissingPackageError` that names the extra if PyLate is not installed."""
    if importlib.util.find_spec("pylate") is None:
        raise MissingPackageError(
            "ColBERT needs PyLate: pip install 'pyterrier_saesplade[colbert]', in a separate environment if other "
            "packages need later releases of torch or transformers than PyLate allows"
        )
