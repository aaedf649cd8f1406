"""Figures: each function draws its data into a file, all in one style, readable at the width of a column in print.

Files are PNG, PDF or SVG by their ending, the same bytes for the same data, and replaced if they are there.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pyterrier_saesplade.errors import DataError, MissingPackageError, SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.metrics import delta_e

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from pyterrier_saesplade.impacts import LatentStatistics

#: The measure that ΔE is made of.
_DELTA_E_OF = "RR@10"

_FORMATS = ("pdf", "png", "svg")

#: Of RR@10 on an axis, where lines of equal ΔE are drawn.
_LEAST_RANGE = 0.15

#: Inches: a column of a conference paper.
_WIDTH = 3.4

#: How many characters a line of a legend has room for, and how many of them the handle of a label takes.
_LINE, _HANDLE = 60, 9
#: Rows of a legend that a figure has room for, and the height of one more.
_LEGEND_ROWS, _ROW_INCHES = 3, 0.15

_SETTINGS: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    # As those of major ticks: on logarithmic axes both have figures, which are to stand on one line.
    "xtick.minor.size": 3.5,
    "xtick.minor.pad": 3.5,
    "ytick.minor.size": 3.5,
    "ytick.minor.pad": 3.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    # Text stays text in a PDF; the names of an SVG's parts do not change from run to run.
    "pdf.fonttype": 42,
    "svg.hashsalt": "saesplade",
}
#: What would differ from run to run.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}

#: Okabe and Ito's colours, told apart by the colour-blind, each with a marker of its own for print in black and white.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))
#: Beyond the colours, lines and markers differ.
_DASHES = ("-", "--", ":", "-.")
_BLUE, _VERMILION = _STYLES[0][0], _STYLES[1][0]

#: What training logs hold that is worth a curve, with the name of its axis.
_CURVES = {
    "loss": "loss",
    "fvu": "unexplained\nvariance",
    "l0_doc": "latents per\npassage",
    "dead": "share of\ndead latents",
    "eval_RR@10": "RR@10,\nheld out",
}


def require_plots() -> None:
    """Raises ``ImportError`` with what to install if figures cannot be drawn; to be called before long work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingPackageError("figures need matplotlib: pip install 'pyterrier_saesplade[plots]'") from error


def require_figure(path: Path, *, overwrite: bool = False) -> None:
    """Makes sure, before long work, that a figure can be drawn into a file.

    Args:
        path: The file.
        overwrite: Whether it may be replaced.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If the file's ending is none of ``.png``, ``.pdf``, ``.svg``.
        FileExistsError: If it exists and may not be replaced.
    """
    require_plots()
    _format(path)
    require_new(path, overwrite=overwrite)


def plot_tradeoff(table: pd.DataFrame, measure: str, path: Path, *, title: str = "") -> None:
    """Draws effectiveness against QD-FLOPs.

    A system without QD-FLOPs is a dashed horizontal line. Rows of one name are a sweep: they are joined, in the order
    of their QD-FLOPs. With RR@10 there are lines of equal ΔE (see
    :func:`~pyterrier_saesplade.metrics.delta_e`), whose values stand on the right.

    Args:
        table: ``name``, ``qd_flops`` and the measure; a row per system, or several where one was swept.
        measure: The column on the vertical axis.
        path: The file (PNG, PDF or SVG, by its ending).
        title: Set above the axes.

    Raises:
        ImportError: If matplotlib is not installed.

    Examples:
        >>> table = pd.DataFrame({"name": ["bm25", "dense"], "qd_flops": [1.2, None], "RR@10": [0.61, 0.57]})
        >>> plot_tradeoff(table, "RR@10", Path("tradeoff.pdf"))
    """
    with _figure(path, 2.9) as figure:
        axes = figure.add_subplot(title=_label(title), xlabel="QD-FLOPs", ylabel=measure)
        for i, (name, rows) in enumerate(table.groupby("name", sort=False)):
            points = rows[["qd_flops", measure]].drop_duplicates().sort_values("qd_flops")
            for y in points.loc[points["qd_flops"].isna(), measure]:
                axes.axhline(y, color=_style(i)[0], linestyle="--", label=_label(name))
            points = points.dropna()
            if len(points):
                _line(axes, i, name, points["qd_flops"], points[measure])
        axes.margins(0.15)
        _logarithmic_if_wide(axes.xaxis, table["qd_flops"])
        if measure == _DELTA_E_OF and table["qd_flops"].gt(0).any():
            _draw_equal_delta_e(axes)
        _legend(figure, axes)


def plot_k_sweep(table: pd.DataFrame, measure: str, path: Path) -> None:
    """Draws effectiveness, and QD-FLOPs below it, against the number k of latents that are kept per token.

    Args:
        table: ``name``, ``k``, ``qd_flops`` and the measure: a row for each system and k.
        measure: The column on the upper vertical axis.
        path: The file (PNG, PDF or SVG, by its ending).

    Raises:
        ImportError: If matplotlib is not installed.
    """
    with _figure(path, 3.6) as figure:
        upper, lower = figure.subplots(2, sharex=True)
        for i, (name, rows) in enumerate(table.sort_values("k", kind="stable").groupby("name", sort=False)):
            _line(upper, i, name, rows["k"], rows[measure])
            _line(lower, i, name, rows["k"], rows["qd_flops"])
        lower.set_xscale("log")
        ks = sorted(table["k"].unique())
        lower.set_xticks(ks, [f"{k:g}" for k in ks])
        lower.set_xticks([], minor=True)
        _set_logarithmic(lower.yaxis)
        lower.set_xlabel("k, latents kept per token")
        upper.set_ylabel(measure)
        lower.set_ylabel("QD-FLOPs")
        _legend(figure, upper)


def plot_k_lambda(table: pd.DataFrame, measure: str, path: Path) -> None:
    """Draws effectiveness against QD-FLOPs, a line for each system and k, whose points grow with the FLOPS weight λ.

    Args:
        table: ``name``, ``k``, ``qd_flops`` and the measure; the rows of a line in the order of λ.
        measure: The column on the vertical axis.
        path: The file (PNG, PDF or SVG, by its ending).

    Raises:
        ImportError: If matplotlib is not installed.
    """
    with _figure(path, 3.2) as figure:
        axes = figure.add_subplot(xlabel="QD-FLOPs (larger points: larger λ)", ylabel=measure)
        for i, ((name, k), rows) in enumerate(table.groupby(["name", "k"], sort=False)):
            x, y = rows["qd_flops"], rows[measure]
            colour, marker, dashes = _style(i)
            axes.plot(x, y, dashes, color=colour)
            sizes = 8 + 10 * np.arange(len(rows))
            axes.scatter(x, y, s=sizes, marker=marker, color=colour, label=_label(f"{name}, k = {k:g}"))
        axes.margins(0.1)
        _logarithmic_if_wide(axes.xaxis, table["qd_flops"])
        _legend(figure, axes)


def plot_postings(statistics: Mapping[str, LatentStatistics], path: Path) -> None:
    """Draws the lengths of posting lists, the longest first, as shares of the documents.

    Args:
        statistics: Those of each index, by the name that it gets.
        path: The file (PNG, PDF or SVG, by its ending).

    Raises:
        ValueError: If an index has no posting.
        ImportError: If matplotlib is not installed.
    """
    with _figure(path, 2.7) as figure:
        axes = figure.add_subplot(xlabel="rank of the posting list", ylabel="share of the documents")
        for i, (name, of_index) in enumerate(statistics.items()):
            lengths = np.sort(of_index.df[of_index.df > 0])[::-1] / of_index.n_docs
            if not len(lengths):
                raise DataError(f"the index {name} has no posting: there is nothing to draw")
            # A marker at every power of two: evenly on the logarithmic axis.
            marked = [2**power - 1 for power in range(len(lengths).bit_length())]
            label = f"{name}: {len(lengths):,} lists, {of_index.df.sum() / of_index.n_docs:,.0f} a document"
            _line(axes, i, label, np.arange(1, len(lengths) + 1), lengths, markevery=marked)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _legend(figure, axes)


def plot_document_frequencies(statistics: LatentStatistics, path: Path, *, title: str = "") -> None:
    """Draws how many latents occur in how many documents, and the share of the dead ones, which occur in none.

    Args:
        statistics: Those of an index.
        path: The file (PNG, PDF or SVG, by its ending).
        title: Set above the axes.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    df = statistics.df
    dead = np.count_nonzero(df == 0) / len(df)
    # Bins that double, from the documents with one latent on: 1, 2-3, 4-7, ...
    edges = 2 ** np.arange(int(statistics.n_docs).bit_length() + 1)
    shares = np.histogram(df[df > 0], edges)[0] / len(df)
    places = np.arange(len(shares)) + 1
    with _figure(path, 2.5) as figure:
        axes = figure.add_subplot(title=_label(title))
        axes.set_xlabel("documents that have the latent")
        axes.set_ylabel("share of latents")
        axes.bar(places, shares, width=0.9, color=_BLUE)
        label = f"dead: {dead:.1%} of {len(df):,} latents"
        axes.bar([-0.2], [dead], width=0.9, color="white", edgecolor=_VERMILION, hatch="////", label=label)
        every = 1 + len(shares) // 9
        shown = range(0, len(shares), every)
        axes.set_xticks([-0.2, *(places[i] - 0.5 for i in shown)], ["0", *(f"{edges[i]:,}" for i in shown)])
        axes.grid(visible=False, axis="x")
        _legend(figure, axes)


def plot_anisotropy(cosines: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draws the mean cosine of two token states, layer by layer.

    Args:
        cosines: What :func:`~pyterrier_saesplade.concepts.state_cosines.anisotropy` gives, by the backbone's name.
        path: The file (PNG, PDF or SVG, by its ending).

    Raises:
        ImportError: If matplotlib is not installed.
    """
    require_plots()
    from matplotlib.ticker import MaxNLocator

    with _figure(path, 2.5) as figure:
        axes = figure.add_subplot(xlabel="layer (0: embeddings)", ylabel="mean cosine of two tokens")
        for i, (name, values) in enumerate(cosines.items()):
            _line(axes, i, name, range(len(values)), values)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, axes)


def plot_precision_recall(curves: Mapping[str, Sequence[float]], path: Path, *, title: str = "") -> None:
    """Draws interpolated precision at eleven levels of recall.

    Args:
        curves: What :func:`~pyterrier_saesplade.evaluation.results.precision_at_recall` gives, by the system's name.
        path: The file (PNG, PDF or SVG, by its ending).
        title: Set above the axes.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    with _figure(path, 2.9) as figure:
        axes = figure.add_subplot(title=_label(title), xlabel="recall", ylabel="interpolated precision")
        for i, (name, values) in enumerate(curves.items()):
            _line(axes, i, name, np.linspace(0, 1, len(values)), values)
        axes.set_ylim(bottom=0)
        _legend(figure, axes)


def plot_differences(differences: pd.Series, path: Path, *, measure: str, system: str, baseline: str) -> None:
    """Draws what each query gains and loses, in order.

    Args:
        differences: What :func:`~pyterrier_saesplade.evaluation.results.differences` gives.
        path: The file (PNG, PDF or SVG, by its ending).
        measure: The name of the measure.
        system: The name of the system.
        baseline: The name of what it is compared with.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    values = differences.to_numpy()
    places = np.arange(1, len(values) + 1)
    with _figure(path, 2.5) as figure:
        ties = np.count_nonzero(values == 0)
        ylabel = f"difference in {measure}"
        xlabel = f"queries ({ties:,} without a difference)"
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        for name, chosen, colour, hatch in (
            (system, values > 0, _BLUE, ""),
            (baseline, values < 0, _VERMILION, "////"),
        ):
            label = _label(f"{name} is better: {np.count_nonzero(chosen):,}")
            # Hatched rather than filled: they are told apart without colour.
            face = "white" if hatch else colour
            axes.fill_between(
                np.repeat(places, 2) + np.tile([-0.5, 0.5], len(places)),
                np.repeat(np.where(chosen, values, 0), 2),
                facecolor=face,
                edgecolor=colour,
                linewidth=0.5,
                hatch=hatch,
                label=label,
            )
        axes.axhline(0, color="black", linewidth=0.5)
        _legend(figure, axes)


def plot_training(logs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draws the learning curves of trainings, a panel for each figure that all of them log.

    Args:
        logs: The ``log`` of ``training.json`` in a model's folder, by the name that it gets.
        path: The file (PNG, PDF or SVG, by its ending).

    Raises:
        ValueError: If the logs have no figure in common.
        ImportError: If matplotlib is not installed.
    """
    shown = [name for name in _CURVES if all(any(name in entry for entry in log) for log in logs.values())]
    if not shown:
        raise DataError(f"the trainings {', '.join(logs)} log nothing in common: draw those of one kind together")
    with _figure(path, 0.6 + 1.2 * len(shown)) as figure:
        panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
        for axes, figure_name in zip(panels, shown, strict=True):
            for i, (name, log) in enumerate(logs.items()):
                entries = [entry for entry in log if figure_name in entry]
                steps = [entry["step"] for entry in entries]
                every = max(1, len(entries) // 8)
                _line(axes, i, name, steps, [entry[figure_name] for entry in entries], markevery=every)
            _logarithmic_if_wide(axes.yaxis, [entry.get(figure_name) for log in logs.values() for entry in log])
            axes.set_ylabel(_CURVES[figure_name])
        figure.align_ylabels(panels)
        panels[-1].set_xlabel("step")
        _legend(figure, panels[0])


def plot_validations(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws RR@10 and nDCG@10 against QD-FLOPs, validation after validation of a fine-tuning.

    Args:
        log: That of the training; without validations there is no figure.
        path: The file (PNG, PDF or SVG, by its ending).

    Raises:
        ImportError: If matplotlib is not installed.
    """
    entries = [entry for entry in log if "eval_RR@10" in entry]
    if not entries:
        return
    with _figure(path, 2.9) as figure:
        axes = figure.add_subplot(xlabel="QD-FLOPs", ylabel="held-out queries")
        costs = [entry["eval_qd_flops"] for entry in entries]
        for i, measure in enumerate(("RR@10", "nDCG@10")):
            values = [entry[f"eval_{measure}"] for entry in entries]
            _line(axes, i, measure, costs, values)
            # The last is filled with white: one sees which way it went, whatever lies close together.
            axes.plot(costs[-1:], values[-1:], _style(i)[1], color=_style(i)[0], markerfacecolor="white")
        axes.set_title(f"steps {entries[0]['step']} to {entries[-1]['step']}; the last is white")
        axes.margins(0.15)
        _legend(figure, axes)


@contextmanager
def _figure(path: Path, height: float) -> Iterator[Figure]:
    """A figure as wide as a column in our style, without pyplot's state; written to the file at the end."""
    require_plots()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kind = _format(path)
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure
        with atomic_write(path) as partial:
            figure.savefig(partial, format=kind, dpi=300, metadata=_METADATA[kind])


def _format(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        raise SettingError(f"{path} must end in .png, .pdf or .svg, which says what kind of figure it is")
    return kind


def _style(i: int) -> tuple[str, str, str]:
    """The colour, the marker and the dashes of the i-th line; beyond the colours, a single point has another marker."""
    cycle = i // len(_STYLES)
    return _STYLES[i % len(_STYLES)][0], _STYLES[(i + cycle) % len(_STYLES)][1], _DASHES[cycle % len(_DASHES)]


def _line(axes: Axes, i: int, name: object, x: Any, y: Any, **options: Any) -> None:
    colour, marker, dashes = _style(i)
    joined = dashes if len(x) > 1 else "none"
    axes.plot(x, y, linestyle=joined, color=colour, marker=marker, label=_label(name), **options)


def _label(name: object) -> str:
    """A name as it stands: matplotlib reads formulas between dollars, and leaves out what begins with ``_``."""
    text = "\n".join(textwrap.wrap(str(name), _LINE - _HANDLE)).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _legend(figure: Figure, axes: Axes) -> None:
    """Puts the legend below the axes, which it takes nothing from, in as many columns as there is room for."""
    handles, labels = axes.get_legend_handles_labels()
    widths = [max(map(len, label.split("\n"))) + _HANDLE for label in labels]
    columns = len(widths) if sum(widths) <= _LINE else max(1, _LINE // max(widths))
    further_rows = max(0, -(-len(labels) // columns) - _LEGEND_ROWS)
    figure.set_figheight(figure.get_figheight() + further_rows * _ROW_INCHES)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _logarithmic_if_wide(axis: Axis, values: Iterable[float | None]) -> None:
    known = np.array([value for value in values if value is not None and not np.isnan(value)])
    if len(known) and known.min() > 0 and known.max() > 10 * known.min():
        _set_logarithmic(axis)


def _set_logarithmic(axis: Axis) -> None:
    """With figures as they are written, 0.2 and not 2 × 10⁻¹."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(StrMethodFormatter("{x:g}"))


def _draw_equal_delta_e(axes: Axes) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    # On a smaller range the lines would be so steep that none ends on the right.
    room = max(0, _LEAST_RANGE - (top - bottom)) / 2
    bottom, top = bottom - room, top + room
    spaced = np.geomspace if axes.get_xscale() == "log" else np.linspace
    # ΔE is defined where both are positive.
    x = spaced(max(left, right / 1000), right, 200)
    y = np.linspace(max(bottom, 0.001), top, 200)
    value = np.vectorize(delta_e)
    # Lines that end evenly spaced on the right, so that there is room for their values.
    levels = np.unique(np.round(value(np.linspace(y[0], top, 8)[1:-1], right), 2))
    axes.contour(x, y, value(y[:, None], x), levels, colors="grey", linewidths=0.5, linestyles="-", zorder=1)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    ends = np.interp(levels, value(y, right), y, left=np.nan, right=np.nan)
    known = ~np.isnan(ends)
    beside = axes.twinx()
    beside.grid(visible=False)
    beside.set_ylim(bottom, top)
    beside.set_yticks(ends[known], [f"{level:.2f}" for level in levels[known]], color="dimgrey")
    beside.tick_params(length=2, color="grey")
    beside.set_ylabel("ΔE (grey lines)", color="dimgrey")
