"""Output is written beside its place, and moved there when it is complete."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Names a hidden file or folder on the file system of ``path``; what is there afterwards is removed.

    Args:
        path: What will be written; its folder is made if need be.

    Yields:
        ``.NAME.RANDOM.partial``, which does not exist: two processes with one target do not meet. A process that is
        killed leaves it behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        yield partial
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Like :func:`beside`, and moves what was written to ``path``, in place of a file that is there.

    Raises:
        OSError: If a folder is to be moved where there is something.
    """
    with beside(path) as partial:
        yield partial
        partial.replace(path)
