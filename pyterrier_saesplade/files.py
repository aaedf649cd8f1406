"""Output is written beside its place and moved there when it is complete; work that takes long can be resumed."""

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

from pyterrier_saesplade.errors import PathExistsError, SettingError

#: The description of an artifact of PyTerrier, in its folder; ours write it last.
METADATA = "pt_meta.json"

_SETTINGS = "settings.json"


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
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
def atomic_write(path: Path) -> Iterator[Path]:
    """Like :func:`scratch_beside`, and moves what was written to ``path``, in place of a file that is there.

    Raises:
        OSError: If a folder is to be moved where there is something.
    """
    with scratch_beside(path) as partial:
        yield partial
        partial.replace(path)


def move_into_place(made: Path, path: Path, replaced: Path) -> None:
    """Renames what was made to ``path``; what is there goes to ``replaced``, and comes back if that fails.

    Args:
        made: A file or folder on the file system of ``path``.
        path: What it will be.
        replaced: A name on the same file system, of which nothing has to exist.
    """
    try:
        if path.exists():
            path.rename(replaced)
        made.rename(path)
    except BaseException:  # an interruption between the two renames included
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise


def require_new(path: Path, *, overwrite: bool | None = None) -> None:
    """Makes sure, before long work, that its output has a place.

    Args:
        path: What will be written.
        overwrite: Whether it may be replaced; ``None``: it never is.

    Raises:
        FileExistsError: If it exists and may not be replaced.
    """
    if path.exists() and not overwrite:
        remedies = "or remove it" if overwrite is None else "remove it, or ask to overwrite it"
        raise PathExistsError(f"{path} exists already: name another path, {remedies}")


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes the folder of work that can be resumed, or checks that it belongs to this work.

    Args:
        folder: The folder.
        settings: What must be the same for work to be continued, as JSON has it.

    Raises:
        FileExistsError: If other work was begun in the folder, or it is something else.
    """
    found = claimed_settings(folder)
    if found not in (None, settings):
        raise PathExistsError(f"{folder} holds unfinished work with other settings: finish that, or remove the folder")
    if found is None:
        if folder.exists() and any(path.suffix != ".partial" for path in folder.iterdir()):
            raise PathExistsError(f"{folder} is in the way, and is none of ours: move it, or name another folder")
        with atomic_write(folder / _SETTINGS) as partial:
            partial.write_text(json.dumps(settings))


def claimed_settings(folder: Path) -> dict[str, Any] | None:
    """Returns the settings of the work that was begun in a folder, or ``None``."""
    path = folder / _SETTINGS
    settings: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return settings


def release(folder: Path) -> None:
    """Turns the folder of work that is done into an ordinary one."""
    (folder / _SETTINGS).unlink(missing_ok=True)
    for partial in folder.glob(".*.partial"):  # of processes that were killed
        partial.unlink()


def numbered_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields ``file:number`` and the bytes of each line of a file, which is decompressed if it ends in ``.gz``.

    Raises:
        ValueError: If it cannot be decompressed.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield f"{path}:{number}", line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SettingError(f"{path}:{number + 1}: cannot be decompressed: {error}") from error


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """Returns the description of an artifact; ``None`` if the folder has none that can be read."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return metadata if isinstance(metadata, dict) else None


def size_on_disk(folder: Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of packages, for descriptions of what was written; those not installed are left out."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # ourselves, in a source tree that was not installed
            continue
    return versions
