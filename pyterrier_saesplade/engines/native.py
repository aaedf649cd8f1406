"""Engines in C++ and Rust as Python libraries should behave: they say what is missing, do not print, raise errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pyterrier_saesplade.errors import EngineError, MissingPackageError


def library(engine: str, packages: str, module: str, *further: str) -> Any:
    """Imports the library of an engine.

    Args:
        engine: The engine, which is also the name of our extra.
        packages: What the extra installs.
        module: The library's module.
        *further: Modules that it needs at run time.

    Returns:
        The module.

    Raises:
        ImportError: If one of them is not installed.
    """
    try:
        for needed in further:
            import_module(needed)
        return import_module(module)
    except ImportError as error:
        message = f"the engine {engine!r} needs {packages}: pip install 'pyterrier_saesplade[{engine}]'"
        raise MissingPackageError(message) from error


@contextmanager
def silence() -> Iterator[None]:
    """Discards what an engine prints on stdout and stderr, below Python's own streams.

    PISA's own switch, ``log_level``, fails in release 0.4.9; the others have none.
    """
    with open(os.devnull, "wb") as nowhere:
        kept = [(stream, os.dup(stream)) for stream in (1, 2)]
        try:
            for stream, _ in kept:
                os.dup2(nowhere.fileno(), stream)
            yield
        finally:
            for stream, copy in kept:
                os.dup2(copy, stream)
                os.close(copy)


@contextmanager
def panics_as_errors(remedy: str) -> Iterator[None]:
    """Turns a panic of Rust, which ``except Exception`` does not catch, into an error.

    Args:
        remedy: What the user can do about it.

    Raises:
        EngineError: If the engine panicked.
    """
    try:
        yield
    except BaseException as error:
        # Each extension module has a class of this name of its own, and offers none of them for import.
        if type(error).__name__ != "PanicException":
            raise
        raise EngineError(f"the engine failed with {str(error)!r}: {remedy}") from error
