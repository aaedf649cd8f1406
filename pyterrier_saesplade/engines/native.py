"""Makes engines in C++ and Rust behave like Python libraries: clear import errors, no output, no panics."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.errors import EngineError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def library(engine: str, packages: str, module: str, *further: str) -> Any:
    """Imports the library of an engine.

    Args:
        engine: The name of the engine, which is also the name of this package's extra.
        packages: The packages that the extra installs, for the message.
        module: The library's module.
        *further: Modules that the library needs at run time.

    Returns:
        The module.

    Raises:
        MissingPackageError: If one of the modules is not installed.

    Examples:
        >>> library("exact", "numpy", "numpy").__name__
        'numpy'
        >>> library("fast", "fast-search", "fast_search")
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.MissingPackageError: the engine 'fast' needs fast-search: pip install ...
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
    """Discards an engine's output on stdout and stderr, at the level of file descriptors.

    PISA has the setting ``log_level``, but it fails in release 0.4.9; the other engines have none.
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
    """Turns a Rust panic, which ``except Exception`` does not catch, into an error.

    Args:
        remedy: What the user can do about it.

    Raises:
        EngineError: If the engine panicked.
    """
    try:
        yield
    except BaseException as error:
        # Each extension module has its own class of this name, and none of them can be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise EngineError(f"the engine failed with {str(error)!r}: {remedy}") from error
