"""What is wrong with a file of training data: counted and reported, or an error."""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

from pyterrier_saesplade.errors import DataError, SettingError

#: What a line that cannot be used does.
OnError = Literal["report", "raise"]


class Problems:
    """Counts what was left out, and why.

    Args:
        on_error: ``"report"``: go on, and say in the end how often what happened; ``"raise"``: stop at the first.

    Attributes:
        on_error: See above.

    Raises:
        ValueError: If ``on_error`` is neither.
    """

    def __init__(self, on_error: OnError = "report") -> None:
        if on_error not in get_args(OnError):
            raise SettingError(f"on_error must be 'report' or 'raise', not {on_error!r}")
        self.on_error = on_error
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def note(self, where: str, what: str, detail: str = "") -> None:
        """Notes that something at a place cannot be used.

        Args:
            where: The file and the line.
            what: The kind of problem.
            detail: More about this one.

        Raises:
            ValueError: Where problems are errors.
        """
        if self.on_error == "raise":
            raise DataError(f"{where}: {what}{': ' if detail else ''}{detail}")
        self._counts[what] += 1
        self._first.setdefault(what, f"{where}{': ' if detail else ''}{detail}")

    def report(self) -> list[str]:
        """Returns a line for each kind of problem, with how often it occurred and where first."""
        return [f"{count:,} x {what} (first at {self._first[what]})" for what, count in self._counts.most_common()]
