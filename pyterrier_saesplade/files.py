"""Atomic writes, and folders of long-running work that can be resumed."""

from __future__ import annotations

import codecs
import gzip
import json
import shutil
import uuid
import zlib
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.errors import DataError, PathExistsError, PathNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

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

    Examples:
        >>> with atomic_write(Path("out.txt")) as partial:
        ...     _ = partial.write_text("done")
        >>> Path("out.txt").read_text()
        'done'
    """
    with scratch_beside(path) as partial:
        yield partial
        partial.replace(path)


@contextmanager
def replacing(path: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Provides a temporary path for an output, and moves what was written there to ``path`` on success.

    An existing file or folder at ``path`` is replaced; it stays as it is if anything fails.

    Args:
        path: The path that will be written. Its parent folder is created if necessary.
        check: Raises an error if ``path`` must not be written. It is called before anything is written, and again
            before the output is moved, because the work in between may take long.

    Yields:
        A path that does not exist yet, with the name of ``path``. Its folder exists and may hold temporary files.

    Examples:
        >>> with replacing(Path("out"), lambda: require_new(Path("out"))) as made:
        ...     made.mkdir()
        >>> Path("out").is_dir()
        True
    """
    check()
    with scratch_beside(path) as workplace:
        workplace.mkdir()
        made = workplace / path.name
        yield made
        check()
        _move_into_place(made, path, workplace / f"{path.name}.replaced")


def _move_into_place(made: Path, path: Path, replaced: Path) -> None:
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

    Examples:
        >>> claim(Path("work"), {"seed": 42})
        >>> claim(Path("work"), {"seed": 43})
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.PathExistsError: work holds unfinished work with other settings: ...
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
        PathNotFoundError: If there is no such file.
        DataError: If the file cannot be decompressed.

    Examples:
        >>> _ = Path("one.txt").write_text("one line")
        >>> list(numbered_lines(Path("one.txt")))
        [('one.txt:1', b'one line')]
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield f"{path}:{number}", line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except FileNotFoundError as error:
        raise PathNotFoundError(f"there is no file {path}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}:{number + 1}: cannot be decompressed: {error}") from error


def write_artifact_metadata(
    folder: Path, artifact_type: str, artifact_format: str, versions: Mapping[str, str], **facts: Any
) -> None:
    """Writes the metadata that makes a folder a PyTerrier artifact. To be called last, when the artifact is complete.

    Args:
        folder: The folder, which must exist.
        artifact_type: The type of the artifact.
        artifact_format: The format of the artifact.
        versions: The versions of the packages that wrote it.
        **facts: Other facts to record, such as the model.
    """
    artifact = {"type": artifact_type, "format": artifact_format, "package_hint": "pyterrier_saesplade"}
    with atomic_write(folder / METADATA) as partial:
        partial.write_text(json.dumps(artifact | facts | {"versions": dict(versions)}, indent=1), encoding="utf-8")


def read_artifact_metadata(folder: Path, artifact_type: str, what: str, remedy: str) -> dict[str, Any]:
    """Returns the metadata of an artifact of this package.

    Args:
        folder: The folder of the artifact.
        artifact_type: The required type.
        what: The name of the type in error messages, such as ``"PLAID index"``.
        remedy: What to do if there is no such artifact, for error messages.

    Raises:
        PathNotFoundError: If there is no such folder.
        DataError: If the folder is not an artifact of this type, or was not finished.
    """
    if not folder.is_dir():
        raise PathNotFoundError(f"there is no {what} at {folder}: {remedy}")
    metadata = read_metadata(folder)
    if metadata is None or metadata.get("type") != artifact_type:
        raise DataError(f"{folder} is not a {what}, or it was not finished: {remedy}")
    return metadata


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file that this package wrote.

    Raises:
        DataError: If the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: it is not valid JSON: {error}") from error


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
