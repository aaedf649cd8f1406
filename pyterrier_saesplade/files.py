"""Atomic writes, and folders of long-running work that can be resumed."""

from __future__ import annotations

import codecs
import gzip
import json
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyterrier_saesplade.errors import DataError, PathExistsError

#: The metadata file in the folder of a PyTerrier artifact. This package writes it last.
METADATA = "pt_meta.json"

_SETTINGS = "settings.json"


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Provides a hidden temporary path next to ``path``, and removes whatever is there on exit.

    Args:
        path: The path that will be written. Its parent folder is created if necessary.

    Yields:
        ``.NAME.RANDOM.partial``, which does not exist yet. The random part keeps processes that write the same path
        apart. A process that is killed leaves the temporary file or folder behind.
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
def atomic_write(path: Path) -> Iterator[Path]:
    """Provides a temporary path as :func:`scratch_beside` does, and renames it to ``path`` on success.

    An existing file is replaced.

    Raises:
        OSError: If a folder was written and ``path`` exists.
    """
    with scratch_beside(path) as partial:
        yield partial
        partial.replace(path)


def move_into_place(made: Path, path: Path, replaced: Path) -> None:
    """Renames ``made`` to ``path``, moving an existing ``path`` to ``replaced``; undoes this on failure.

    Args:
        made: A file or folder on the same file system as ``path``.
        path: Its final path.
        replaced: A path on the same file system that does not exist.
    """
    try:
        if path.exists():
            path.rename(replaced)
        made.rename(path)
    except BaseException:  # including an interruption between the two renames
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise


def require_new(path: Path, *, overwrite: bool | None = None) -> None:
    """Checks, before long work starts, that its output does not exist yet.

    Args:
        path: The path that will be written.
        overwrite: Whether it may be overwritten; ``None`` if the caller has no such option.

    Raises:
        PathExistsError: If the path exists and must not be overwritten.
    """
    if path.exists() and not overwrite:
        remedies = "or remove it" if overwrite is None else "remove it, or allow overwriting"
        raise PathExistsError(f"{path} exists already: choose another path, {remedies}")


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Creates the folder of resumable work, or checks that an existing one belongs to the same work.

    Args:
        folder: The folder.
        settings: What must be equal for the work to be resumed, as read back from JSON.

    Raises:
        PathExistsError: If the folder belongs to other work, or was not created by this package.
    """
    found = claimed_settings(folder)
    if found not in (None, settings):
        raise PathExistsError(f"{folder} holds unfinished work with other settings: finish it, or remove the folder")
    if found is None:
        if folder.exists() and any(path.suffix != ".partial" for path in folder.iterdir()):
            raise PathExistsError(
                f"{folder} exists and was not created by saesplade: move it, or choose another folder"
            )
        with atomic_write(folder / _SETTINGS) as partial:
            partial.write_text(json.dumps(settings))


def claimed_settings(folder: Path) -> dict[str, Any] | None:
    """Returns the settings of the unfinished work in a folder, or ``None`` if there is none."""
    path = folder / _SETTINGS
    settings: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return settings


def release(folder: Path) -> None:
    """Removes the bookkeeping files from the folder of finished work."""
    (folder / _SETTINGS).unlink(missing_ok=True)
    for partial in folder.glob(".*.partial"):  # left by processes that were killed
        partial.unlink()


def numbered_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields ``file:number`` and the bytes of each line of a file, decompressing a file whose name ends in ``.gz``.

    Raises:
        DataError: If the file cannot be decompressed.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield f"{path}:{number}", line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}:{number + 1}: cannot be decompressed: {error}") from error


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """Returns the metadata of an artifact, or ``None`` if the folder has no readable metadata."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return metadata if isinstance(metadata, dict) else None


def size_on_disk(folder: Path) -> int:
    """Returns the total size in bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of the packages that are installed, to be recorded with an output."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # this package itself, when it runs from a source tree
            continue
    return versions
