"""How commands report errors: user errors in one line, bugs with a traceback."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_saesplade.errors import SaespladeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The environment variable that, set to 1, makes every error show its traceback.
DEBUG_VARIABLE = "SAESPLADE_DEBUG"


def one_line(error: BaseException, arguments: Sequence[str]) -> str | None:
    """Returns the message for an error that the user can fix, as one line; ``None`` for a bug.

    Args:
        error: The error.
        arguments: The command-line arguments. An ``OSError`` counts as a user error if it concerns a path among them,
            or if the disk is full.

    Examples:
        >>> one_line(SaespladeError("there is no model"), [])
        'there is no model'
        >>> one_line(KeyError("latents"), []) is None
        True
        >>> one_line(IsADirectoryError(21, "Is a directory", "runs/a"), ["search", "--out=runs/a"])
        "[Errno 21] Is a directory: 'runs/a'"
    """
    if isinstance(error, SaespladeError) or (isinstance(error, OSError) and _is_users(error, arguments)):
        return " ".join(str(error).split())
    return None


def wants_traceback() -> bool:
    """Returns whether ``SAESPLADE_DEBUG`` asks for the traceback of every error."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


@contextmanager
def reported(command: str) -> Iterator[None]:
    """Prints an error that the user can fix as one line on standard error, and exits with code 2."""
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
    named = [
        Path(argument.rpartition("=")[2]).absolute()
        for argument in arguments
        if "=" in argument or not argument.startswith("--")  # --out=PATH names a path, --overwrite does not
    ]
    # Outputs are first written to a temporary sibling of the path that was named.
    return any(path == one or one in path.parents or path.parent == one.parent for one in named)
