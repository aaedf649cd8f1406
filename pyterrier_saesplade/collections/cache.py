"""A cache of tables read from files, in the cache folder of the ``datasets`` library."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from huggingface_hub.constants import HF_HOME

from pyterrier_saesplade.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def cached(parts: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """Returns a cached folder. If it does not exist, one process builds it while the others wait.

    Args:
        parts: Everything that the content depends on, in a form that JSON can store.
        build: A function that fills an empty folder.
    """
    digest = sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
    folder = _home() / "saesplade" / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            with atomic_write(folder) as partial:
                partial.mkdir()
                build(partial)
    return folder


def file_identity(path: Path) -> dict[str, Any]:
    """Returns what distinguishes a file from other files, and from earlier versions of itself."""
    status = path.stat()
    return {"file": str(path.resolve()), "bytes": status.st_size, "changed": status.st_mtime_ns}


def _home() -> Path:
    """Returns the cache folder of ``datasets``, without importing it, because only training requires it."""
    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(HF_HOME, "datasets")).expanduser()
