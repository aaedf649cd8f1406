"""Commands that take systems by name: their help ends with a list of these names."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class SystemsCommand(TyperCommand):
    """Lists the systems below its help. It imports them only then, because that takes a few seconds."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the list."""
        from pyterrier_saesplade.evaluation import describe_systems

        with formatter.section("Systems"):
            formatter.write_dl([tuple(line.split(": ", 1)) for line in describe_systems().splitlines()])
