"""What a comparison leaves behind: a table, ``results.json``, ``results.csv``, a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

#: The columns after the name and the measures, with the decimals that the table shows.
COSTS = {
    "qd_flops": 2,
    "index_mb": 2,
    "mrt": 1,
    "encode_ms_per_query": 1,
    "retrieve_ms_per_query": 1,
    "build_seconds": 1,
}


@dataclass(frozen=True)
class Comparison:
    """The outcome of an experiment.

    Attributes:
        title: The collection, its number of documents and of judged queries.
        table: One row per system: ``name``; the measures by their ir_measures names; ``qd_flops`` (multiplications for
            a pair of query and document; missing for a dense system); ``index_mb`` (10^6 bytes on disk); ``mrt``
            (milliseconds per query, encoding included); ``encode_ms_per_query`` and ``retrieve_ms_per_query``, its
            parts; ``build_seconds`` (encoding and indexing all documents, measured when the index was built).
        measures: The names of the measures, in the table's order.
        notes: What each system is.
        index: The folder of the compared model's index.
    """

    title: str
    table: pd.DataFrame
    measures: Sequence[str]
    notes: Sequence[str]
    index: Path

    def __str__(self) -> str:
        """The table as text, as wide as its columns need, with the notes below it."""
        decimals = dict.fromkeys(self.measures, 3) | COSTS
        columns = {
            column: [f"{value:.{places}f}" if pd.notna(value) else "" for value in self.table[column]]
            for column, places in decimals.items()
        }
        table = pd.DataFrame({"name": self.table["name"], **columns}).to_string(index=False)
        return "\n".join([self.title, "", table, "", *self.notes])

    def write(self, folder: Path) -> None:
        """Writes ``results.json``, ``results.csv`` and ``results.png`` into a folder."""
        objects = [_json_object(row) for row in self.table.to_dict("records")]
        text = json.dumps(objects, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        (folder / "results.json").write_text(text, encoding="utf-8")
        self.table.to_csv(folder / "results.csv", index=False)
        plot_tradeoff(self.table, self.measures[0], folder / "results.png", title=self.title)


def _json_object(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def require_plots() -> None:
    """Raises ``ImportError`` with what to install if figures cannot be drawn; to be called before long work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'pyterrier_saesplade[plots]'") from error


#: Okabe and Ito's colours, told apart by the colour-blind, each with a marker of its own for print in black and white.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))


def plot_tradeoff(table: pd.DataFrame, measure: str, path: Path, *, title: str = "") -> None:
    """Draws effectiveness against QD-FLOPs, readable at the width of a column.

    A system without QD-FLOPs is a dashed horizontal line.

    Args:
        table: One row per system: ``name``, ``qd_flops`` and the measure.
        measure: The column on the vertical axis.
        path: The file (PNG, PDF or SVG, by its ending).
        title: Set above the axes.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    require_plots()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4, 2.7), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, x, y) in enumerate(zip(table["name"], table["qd_flops"], table[measure], strict=True)):
        colour, marker = _STYLES[i % len(_STYLES)]
        if pd.isna(x):
            axes.axhline(y, color=colour, linestyle="--", linewidth=1, label=name)
        else:
            axes.plot([x], [y], marker, color=colour, markersize=6, label=name)
    axes.margins(0.15)
    axes.set_xlabel("QD-FLOPs", fontsize=8)
    axes.set_ylabel(measure, fontsize=8)
    axes.set_title(title, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=300)
