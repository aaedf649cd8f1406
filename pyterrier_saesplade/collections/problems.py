"""Problems in files of training data, which are counted and reported, or raised as errors."""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

from pyterrier_saesplade.errors import DataError, SettingError

#: What to do with unusable lines: count them and report the counts, or stop at the first.
OnError = Literal["report", "raise"]


class Problems:
    """Counts what was left out, and why.

    Args:
        on_error: ``"report"`` counts the problems; ``"raise"`` stops at the first.

    Attributes:
        on_error: As above.

    Raises:
        SettingError: If ``on_error`` is neither.

    Examples:
        >>> problems = Problems()
        >>> problems.note("qrels.tsv:7", "unknown passage", "d99")
        >>> problems.note("qrels.tsv:9", "unknown passage", "d50")
        >>> problems.report()
        ['2 x unknown passage (first at qrels.tsv:7: d99)']
    """

    def __init__(self, on_error: OnError = "report") -> None:
        if on_error not in get_args(OnError):
            raise SettingError(f"on_error must be 'report' or 'raise', not {on_error!r}")
        self.on_error = on_error
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def note(self, where: str, what: str, detail: str = "") -> None:
        """Counts a problem, or raises it.

        Args:
            where: The file and the line.
            what: The kind of problem.
            detail: The details of this one.

        Raises:
            DataError: If ``on_error`` is ``"raise"``.
        """
        if self.on_error == "raise":
            raise DataError(f"{where}: {what}{': ' if detail else ''}{detail}")
        self._counts[what] += 1
        self._first.setdefault(what, f"{where}{': ' if detail else ''}{detail}")

    def report(self) -> list[str]:
        """Returns one line for each kind of problem, with its count and first occurrence."""
        return [f"{count:,} x {what} (first at {self._first[what]})" for what, count in self._counts.most_common()]
