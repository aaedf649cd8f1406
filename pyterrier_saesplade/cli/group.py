"""How the command reports errors: one line for those that the user can fix, a traceback for bugs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from pyterrier_saesplade.mistakes import one_line, wants_traceback

#: click's UsageError, which typer does not export.
_UsageError: Any = typer.BadParameter.__base__

_DEBUG = "--debug"


class SaespladeGroup(TyperGroup):
    """Reports a user's error in one line, without a traceback and with exit code 2.

    ``--debug`` is accepted anywhere on the command line. Commands find the command line in ``ctx.obj``.
    """

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]
        """Runs a command; see :meth:`click.Group.main`."""
        given = list(sys.argv[1:] if args is None else args)
        arguments = [argument for argument in given if argument != _DEBUG]
        debug = len(arguments) < len(given) or wants_traceback()
        try:
            code = super().main(arguments, standalone_mode=False, obj=shlex.join(["saesplade", *arguments]), **extra)
        except typer.Abort:  # Ctrl-C
            print("saesplade: interrupted", file=sys.stderr)
            code = 130
        except _UsageError as error:
            print(f"saesplade: {' '.join(error.format_message().split())}", file=sys.stderr)
            code = 2
        except Exception as error:
            line = one_line(error, arguments)
            if line is None or debug:
                raise
            print(f"saesplade: {line}", file=sys.stderr)
            code = 2
        if standalone_mode:
            sys.exit(code)
        return code
