"""Engines in C++ and Rust as a Python library may behave: they do not print, and they raise errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


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
        RuntimeError: If the engine panicked.
    """
    try:
        yield
    except BaseException as error:
        # Each extension module has a class of this name of its own, and offers none of them for import.
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"the engine failed with {str(error)!r}: {remedy}") from error
