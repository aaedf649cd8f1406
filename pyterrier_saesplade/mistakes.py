"""How commands report errors: what the user can mend in one line, a bug with its traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyterrier_saesplade.errors import SaespladeError

#: Set to 1, it makes every error show its traceback.
DEBUG_VARIABLE = "SAESPLADE_DEBUG"


def one_line(error: BaseException, arguments: Sequence[str]) -> str | None:
    """Returns the line that reports an error which the user can mend; ``None`` for a bug.

    Args:
        error: The error.
        arguments: The command line. An error of the operating system is the user's if it concerns a path named there,
            or if the disk is full.
    """
    if isinstance(error, SaespladeError) or (isinstance(error, OSError) and _is_users(error, arguments)):
        return " ".join(str(error).split())
    return None


def wants_traceback() -> bool:
    """Tells whether ``SAESPLADE_DEBUG`` asks for the traceback of every error."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


@contextmanager
def reported(command: str) -> Iterator[None]:
    """Reports an error that the user can mend in one line on standard error, and exits with code 2."""
    try:
        yield
    except Exception as error:
        line = one_line(error, sys.argv[1:])
        if line is None or wants_traceback():
            raise
        print(f"{command}: {line}", file=sys.stderr)
        sys.exit(2)


def _is_users(error: OSError, arguments: Sequence[str]) -> bool:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return False
    path = Path(os.fsdecode(error.filename)).absolute()
    named = [Path(argument.rpartition("=")[2]).absolute() for argument in arguments if not argument.startswith("--")]
    # Outputs are written beside their place, so that a sibling of a named path is meant by it.
    return any(path == one or one in path.parents or path.parent == one.parent for one in named)
