"""The figure of a fine-tuning: how effectiveness and the cost of search went while it lasted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyterrier_saesplade.evaluation.report import require_plots


def plot_validations(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws RR@10 and nDCG@10 against QD-FLOPs, validation after validation, readable at the width of a column.

    Args:
        log: That of the training; without validations there is no figure.
        path: The file (PNG, PDF or SVG, by its ending).

    Raises:
        ImportError: If matplotlib is not installed.
    """
    entries = [entry for entry in log if "eval_RR@10" in entry]
    if not entries:
        return
    require_plots()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4, 2.7), layout="constrained")
    axes = figure.add_subplot()
    costs = [entry["eval_qd_flops"] for entry in entries]
    for measure, colour, marker in (("RR@10", "#0072B2", "o"), ("nDCG@10", "#D55E00", "s")):
        values = [entry[f"eval_{measure}"] for entry in entries]
        axes.plot(costs, values, marker=marker, color=colour, markersize=4, linewidth=1, label=measure)
        for entry, x, y in ((entries[0], costs[0], values[0]), (entries[-1], costs[-1], values[-1])):
            axes.annotate(f"step {entry['step']}", (x, y), xytext=(3, 4), textcoords="offset points", fontsize=6)
    axes.margins(0.2)
    axes.set_xlabel("QD-FLOPs", fontsize=8)
    axes.set_ylabel("held-out queries", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=300)
