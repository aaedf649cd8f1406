"""Figures: each function draws its data to a file, in one style that is readable at the width of a printed column.

The suffix of the file selects the format: PNG, PDF or SVG. The same data give the same bytes. Existing files are
replaced.
"""

from __future__ import annotations

import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_saesplade.errors import DataError, MissingPackageError, SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.metrics import delta_e

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from pyterrier_saesplade.impacts import LatentStatistics

#: The measure from which ΔE is computed.
_DELTA_E_OF = "RR@10"

_FORMATS = ("pdf", "png", "svg")

#: The smallest range of RR@10 on an axis with lines of equal ΔE.
_LEAST_RANGE = 0.15

#: The width in inches of a column in a conference paper.
_WIDTH = 3.4

#: The width of a legend in characters, and the part of it that the handle of a label takes.
_LINE, _HANDLE = 60, 9
#: The number of legend rows that fit into a figure, and the height in inches of each further row.
_LEGEND_ROWS, _ROW_INCHES = 3, 0.15

_SETTINGS: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    # The same as for major ticks: on logarithmic axes both have labels, which must be aligned.
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
    # PDFs contain text, not outlines. The identifiers in an SVG are the same in every run.
    "pdf.fonttype": 42,
    "svg.hashsalt": "saesplade",
}
#: Metadata that would differ between runs.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}

#: Okabe and Ito's colours, which colour-blind readers can distinguish, and a marker for each for black-and-white print.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))
#: Line styles. When the colours are used up, they are combined with the next line style and other markers.
_DASHES = ("-", "--", ":", "-.")
_BLUE, _VERMILION = _STYLES[0][0], _STYLES[1][0]

#: The values of training logs that are drawn, with the labels of their axes.
_CURVES = {
    "loss": "loss",
    "fvu": "unexplained\nvariance",
    "l0_doc": "latents per\npassage",
    "dead": "share of\ndead latents",
    "eval_RR@10": "RR@10,\nheld out",
}


def require_plots() -> None:
    """Raises a :exc:`MissingPackageError` if matplotlib is not installed. To be called before long work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingPackageError("figures need matplotlib: pip install 'pyterrier_saesplade[plots]'") from error


def require_figure(path: Path, *, overwrite: bool = False) -> None:
    """Checks, before long work, that a figure can be written to a file.

    Args:
        path: The path of the file.
        overwrite: Whether an existing file may be replaced.

    Raises:
        MissingPackageError: If matplotlib is not installed.
        SettingError: If the suffix of the file is not ``.png``, ``.pdf`` or ``.svg``.
        PathExistsError: If the file exists and must not be replaced.

    Examples:
        >>> require_figure(Path("tradeoff.gif"))
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: tradeoff.gif must end in .png, .pdf or .svg
    """
    require_plots()
    _format(path)
    require_new(path, overwrite=overwrite)


def plot_tradeoff(table: pd.DataFrame, measure: str, path: Path, *, title: str = "") -> None:
    """Draws effectiveness against QD-FLOPs.

    A system without QD-FLOPs is drawn as a dashed horizontal line. Rows with the same name are a sweep, and are joined
    in the order of their QD-FLOPs. For RR@10, lines of equal ΔE are drawn (see
    :func:`~pyterrier_saesplade.metrics.delta_e`), with their values on the right.

    Args:
        table: A frame with ``name``, ``qd_flops`` and the measure: one row per system, or several for a sweep.
        measure: The column to draw on the vertical axis.
        path: The file (PNG, PDF or SVG).
        title: The title of the figure.

    Raises:
        MissingPackageError: If matplotlib is not installed.

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
    """Draws effectiveness, and QD-FLOPs below it, against k, the number of latents kept per token.

    Args:
        table: A frame with ``name``, ``k``, ``qd_flops`` and the measure: one row per system and k.
        measure: The column to draw on the upper vertical axis.
        path: The file (PNG, PDF or SVG).

    Raises:
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> table = pd.DataFrame({"name": "mine", "k": [4, 8], "qd_flops": [0.5, 1.1], "RR@10": [0.3, 0.35]})
        >>> plot_k_sweep(table, "RR@10", Path("k.svg"))
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
    """Draws effectiveness against QD-FLOPs, with one line per system and k. The points grow with the FLOPS weight λ.

    Args:
        table: A frame with ``name``, ``k``, ``qd_flops`` and the measure. The rows of a line must be in the order of λ.
        measure: The column to draw on the vertical axis.
        path: The file (PNG, PDF or SVG).

    Raises:
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> table = pd.DataFrame({"name": "mine", "k": 8, "qd_flops": [1.1, 0.5], "RR@10": [0.35, 0.3]})
        >>> plot_k_lambda(table, "RR@10", Path("lambda.svg"))
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
    """Draws the lengths of posting lists, in descending order, as shares of the documents.

    Args:
        statistics: The latent statistics of each index, by its label.
        path: The file (PNG, PDF or SVG).

    Raises:
        DataError: If an index has no postings.
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> plot_postings({"mine": index.statistics}, Path("postings.svg"))
    """
    with _figure(path, 2.7) as figure:
        axes = figure.add_subplot(xlabel="rank of the posting list", ylabel="share of the documents")
        for i, (name, of_index) in enumerate(statistics.items()):
            lengths = np.sort(of_index.df[of_index.df > 0])[::-1] / of_index.n_docs
            if not len(lengths):
                raise DataError(f"the index {name} has no postings to draw")
            # Markers at the powers of two are evenly spaced on the logarithmic axis.
            marked = [2**power - 1 for power in range(len(lengths).bit_length())]
            label = f"{name}: {len(lengths):,} lists, {of_index.df.sum() / of_index.n_docs:,.0f} a document"
            _line(axes, i, label, np.arange(1, len(lengths) + 1), lengths, markevery=marked)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _legend(figure, axes)


def plot_document_frequencies(statistics: LatentStatistics, path: Path, *, title: str = "") -> None:
    """Draws a histogram of the document frequencies of latents, and the share of dead latents, which never occur.

    Args:
        statistics: The latent statistics of an index.
        path: The file (PNG, PDF or SVG).
        title: The title of the figure.

    Raises:
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> plot_document_frequencies(index.statistics, Path("frequencies.svg"))
    """
    df = statistics.df
    dead = np.count_nonzero(df == 0) / len(df)
    # Each bin is twice as wide as the one before: 1, 2-3, 4-7, ... documents.
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
    """Draws the mean cosine of two token states, by layer.

    Args:
        cosines: The results of :func:`~pyterrier_saesplade.concepts.state_cosines.anisotropy`, by backbone.
        path: The file (PNG, PDF or SVG).

    Raises:
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> plot_anisotropy({"mine": [0.1, 0.3, 0.5]}, Path("anisotropy.svg"))
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
        curves: The results of :func:`~pyterrier_saesplade.evaluation.results.precision_at_recall`, by system.
        path: The file (PNG, PDF or SVG).
        title: The title of the figure.

    Raises:
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> plot_precision_recall({"mine": np.linspace(1, 0, 11)}, Path("precision.svg"))
    """
    with _figure(path, 2.9) as figure:
        axes = figure.add_subplot(title=_label(title), xlabel="recall", ylabel="interpolated precision")
        for i, (name, values) in enumerate(curves.items()):
            _line(axes, i, name, np.linspace(0, 1, len(values)), values)
        axes.set_ylim(bottom=0)
        _legend(figure, axes)


def plot_differences(differences: pd.Series, path: Path, *, measure: str, system: str, baseline: str) -> None:
    """Draws the difference between a system and a baseline for each query, in the given order.

    Args:
        differences: The result of :func:`~pyterrier_saesplade.evaluation.results.differences`.
        path: The file (PNG, PDF or SVG).
        measure: The name of the measure.
        system: The name of the system.
        baseline: The name of the baseline.

    Raises:
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> gains = pd.Series([0.4, 0.1, 0.0, -0.2])
        >>> plot_differences(gains, Path("gains.svg"), measure="nDCG@10", system="mine", baseline="bm25")
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
            # Losses are hatched, not filled, so that they can be distinguished without colour.
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
    """Draws the learning curves of training runs, with one panel for each value that all of them log.

    Args:
        logs: The ``log`` in the ``training.json`` of each model's folder, by its label.
        path: The file (PNG, PDF or SVG).

    Raises:
        DataError: If the logs have no value in common.
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> plot_training({"mine": [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]}, Path("training.svg"))
    """
    shown = [name for name in _CURVES if all(any(name in entry for entry in log) for log in logs.values())]
    if not shown:
        raise DataError(
            f"the training runs {', '.join(logs)} log no value in common: draw runs of the same kind together"
        )
    with _figure(path, 0.6 + 1.2 * len(shown)) as figure:
        panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
        for axes, logged in zip(panels, shown, strict=True):
            for i, (name, log) in enumerate(logs.items()):
                entries = [entry for entry in log if logged in entry]
                steps = [entry["step"] for entry in entries]
                every = max(1, len(entries) // 8)
                _line(axes, i, name, steps, [entry[logged] for entry in entries], markevery=every)
            _logarithmic_if_wide(axes.yaxis, [entry.get(logged) for log in logs.values() for entry in log])
            axes.set_ylabel(_CURVES[logged])
        figure.align_ylabels(panels)
        panels[-1].set_xlabel("step")
        _legend(figure, panels[0])


def plot_validations(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws RR@10 and nDCG@10 against QD-FLOPs over the validations of a fine-tuning run.

    Args:
        log: The log of the run. If it has no validations, nothing is drawn.
        path: The file (PNG, PDF or SVG).

    Raises:
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> log = [{"step": 100, "eval_RR@10": 0.3, "eval_nDCG@10": 0.35, "eval_qd_flops": 1.1}]
        >>> plot_validations(log, Path("validations.svg"))
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
            # The last point is white, which shows the direction of the curve even if points are close together.
            axes.plot(costs[-1:], values[-1:], _style(i)[1], color=_style(i)[0], markerfacecolor="white")
        axes.set_title(f"steps {entries[0]['step']} to {entries[-1]['step']}; the last is white")
        axes.margins(0.15)
        _legend(figure, axes)


@contextmanager
def _figure(path: Path, height: float) -> Iterator[Figure]:
    """Provides a figure of column width in this module's style, and writes it to the file on success.

    The figure does not use the global state of pyplot.
    """
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
        raise SettingError(f"{path} must end in .png, .pdf or .svg")
    return kind


def _style(i: int) -> tuple[str, str, str]:
    """Returns the colour, marker and line style of line ``i``; when colours repeat, markers and line styles differ."""
    cycle = i // len(_STYLES)
    return _STYLES[i % len(_STYLES)][0], _STYLES[(i + cycle) % len(_STYLES)][1], _DASHES[cycle % len(_DASHES)]


def _line(axes: Axes, i: int, name: object, x: Any, y: Any, **options: Any) -> None:
    colour, marker, dashes = _style(i)
    joined = dashes if len(x) > 1 else "none"
    axes.plot(x, y, linestyle=joined, color=colour, marker=marker, label=_label(name), **options)


def _label(name: object) -> str:
    """Returns a name as a label, wrapped and escaped.

    Matplotlib parses text between dollar signs as a formula, and hides labels that begin with ``_``.
    """
    text = "\n".join(textwrap.wrap(str(name), _LINE - _HANDLE)).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _legend(figure: Figure, axes: Axes) -> None:
    """Puts the legend below the axes, in as many columns as fit, and makes the figure taller if necessary."""
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
    """Makes an axis logarithmic, with plain tick labels such as 0.2, not 2 × 10⁻¹."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(StrMethodFormatter("{x:g}"))


def _draw_equal_delta_e(axes: Axes) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    # With a smaller range, the lines would be so steep that none of them would end on the right.
    room = max(0, _LEAST_RANGE - (top - bottom)) / 2
    bottom, top = bottom - room, top + room
    spaced = np.geomspace if axes.get_xscale() == "log" else np.linspace
    # ΔE is only finite where both are positive.
    x = spaced(max(left, right / 1000), right, 200)
    y = np.linspace(max(bottom, 0.001), top, 200)
    value = np.vectorize(delta_e)
    # The lines end evenly spaced on the right, so that there is room for their values.
    levels = np.unique(np.round(value(np.linspace(y[0], top, 8)[1:-1], right), 2))
    axes.contour(x, y, value(y[:, None], x), levels, colors="grey", linewidths=0.5, linestyles="-", zorder=1)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    ends = np.interp(levels, value(y, right), y, left=np.nan, right=np.nan)
    known = ~np.isnan(ends)
    right_axis = axes.twinx()
    right_axis.grid(visible=False)
    right_axis.set_ylim(bottom, top)
    right_axis.set_yticks(ends[known], [f"{level:.2f}" for level in levels[known]], color="dimgrey")
    right_axis.tick_params(length=2, color="grey")
    right_axis.set_ylabel("ΔE (grey lines)", color="dimgrey")
