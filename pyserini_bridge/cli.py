"""What the commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyterrier_saesplade.engines.java import JavaNotFoundError
from pyterrier_saesplade.errors import EngineError


@contextmanager
def mistakes(command: str) -> Iterator[None]:
    """Reports a user's mistake in one line, without a traceback, and ends with exit code 2."""
    try:
        yield
    except (ValueError, OSError, ImportError, JavaNotFoundError, EngineError) as error:
        print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
