"""A report of comparisons: one self-contained HTML page with sortable tables and figures."""

from __future__ import annotations

import base64
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation.results import COSTS, Results, differences, read_results
from pyterrier_saesplade.figures import plot_differences, plot_tradeoff, require_plots
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.metrics import delta_e

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

_HEADERS = {
    "name": "system",
    "qd_flops": "QD-FLOPs",
    "index_mb": "index, MB",
    "mrt": "ms per query",
    "encode_ms_per_query": "encoding, ms",
    "retrieve_ms_per_query": "retrieval, ms",
    "build_seconds": "build, s",
}

#: The entries of ``about.json`` that the page shows, in this order, in addition to notes and versions.
_FACTS = ("collection", "n_docs", "n_queries", "date")
_FACT_NAMES = {"n_docs": "documents", "n_queries": "queries"}

#: Number of queries to list with the largest gains, and with the largest losses.
_SHOWN_QUERIES = 10

_IMAGES = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _Cell:
    """A cell of a table. The column is sorted by ``value``; ``None`` is a missing number."""

    text: str
    value: float | str | None
    is_best: bool = False


@dataclass(frozen=True)
class _Table:
    """A table. If ``is_folded``, it is collapsed until the reader opens it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[_Cell]]
    is_folded: bool = False


@dataclass(frozen=True)
class _Image:
    caption: str
    source: str


@dataclass(frozen=True)
class _Section:
    title: str
    tables: Sequence[_Table]
    images: Sequence[_Image]
    notes: Sequence[str]
    facts: dict[str, str]
    command: str
    versions: dict[str, str]


def write_report(
    folders: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    figures: Iterable[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> Path:
    """Writes a report of comparisons as one HTML page, which loads nothing from elsewhere.

    For each comparison, the page has the table, a figure of effectiveness against QD-FLOPs, and the command and the
    versions that made the results. If the values of each query are known, it also shows the gains and losses of each
    system against the first one. For several comparisons or a suite, it begins with a table of all of them.

    Args:
        folders: Folders that :func:`~pyterrier_saesplade.evaluate` wrote, for comparisons or suites.
        out: The path of the page.
        figures: Additional figures to show, PNG or SVG.
        overwrite: Replace an existing page.

    Returns:
        The path of the page.

    Raises:
        PathNotFoundError: If a folder has no results.
        DataError: If results cannot be read.
        SettingError: If no folder is given, or a figure is neither PNG nor SVG.
        PathExistsError: If the page exists and ``overwrite`` is false.
        MissingPackageError: If matplotlib is not installed.

    Examples:
        >>> write_report(["my-comparison"], "report.html")
        PosixPath('report.html')
    """
    out = Path(out)
    require_new(out, overwrite=overwrite)
    require_plots()
    images = [_read_image(Path(figure)) for figure in figures]
    results = [one for folder in folders for one in read_results(folder)]
    if not results:
        raise SettingError("name at least one folder of results")
    environment = Environment(
        loader=PackageLoader("pyterrier_saesplade.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    page = environment.get_template("page.html").render(
        title=results[0].title if len(results) == 1 else "Comparisons",
        overview=_overview(results),
        sections=[_section(one) for one in results],
        images=images,
    )
    with atomic_write(out) as partial:
        partial.write_text(page, encoding="utf-8")
    return out


def _section(results: Results) -> _Section:
    about = results.about
    facts = {_FACT_NAMES.get(name, name): about[name] for name in _FACTS if about.get(name) is not None}
    return _Section(
        title=results.title,
        tables=[_systems(results), *_gains(results)],
        images=list(_images(results)),
        notes=about.get("notes", ()),
        facts={name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in facts.items()},
        command=about.get("command") or "",
        versions=about.get("versions", {}),
    )


def _systems(results: Results) -> _Table:
    table = results.table
    decimals = dict.fromkeys(results.measures, 3) | COSTS
    columns = {}
    for column in table.columns:
        best = table[column].max() if column in results.measures else None
        columns[column] = [_cell(value, decimals.get(column, 3), best) for value in table[column]]
    if "RR@10" in table and "qd_flops" in table:
        scores = [delta_e(rr, cost) for rr, cost in zip(table["RR@10"], table["qd_flops"], strict=True)]
        best = pd.Series(scores).max()
        columns["ΔE"] = [_cell(score, 3, best) for score in scores]
    headers = [_HEADERS.get(column, column) for column in columns]
    caption = "Effectiveness and cost; the best values are in bold"
    return _Table(caption, headers, list(zip(*columns.values(), strict=True)))


def _overview(results: Sequence[Results]) -> _Table | None:
    """Returns a table with the first measure of each comparison; ``None`` if there is only one comparison."""
    if len(results) == 1:
        return None
    values = pd.DataFrame({i: one.table.set_index("name")[one.measures[0]] for i, one in enumerate(results)})
    systems = dict.fromkeys(name for one in results for name in one.systems)
    rows = [
        [_cell(name), *(_cell(values.loc[name, i], 3, values[i].max()) for i in range(len(results)))]
        for name in systems
    ]
    if len({one.measures[0] for one in results}) == 1:
        return _Table(f"{results[0].measures[0]} of all comparisons", ["system", *(one.title for one in results)], rows)
    headers = [f"{one.measures[0]}, {one.title}" for one in results]
    return _Table("The first measure of all comparisons", ["system", *headers], rows)


def _gains(results: Results) -> Iterator[_Table]:
    """Yields a table of queries won and lost against the first system, and a table of the largest differences."""
    baseline, *others = results.systems
    if results.perquery is None or not others:
        return
    measures = [measure for measure in results.measures if measure in set(results.perquery["measure"])]
    counts, queries = [], []
    for system in others:
        for measure in measures:
            gained = differences(results, measure, system, baseline)
            wins, losses = int((gained > 0).sum()), int((gained < 0).sum())
            numbers = [_cell(float(count), 0) for count in (wins, len(gained) - wins - losses, losses)]
            counts.append([_cell(system), _cell(measure), *numbers, _cell(float(gained.mean()), 3)])
            if measure == measures[0]:
                shown = pd.concat([gained[gained > 0].head(_SHOWN_QUERIES), gained[gained < 0].tail(_SHOWN_QUERIES)])
                values = results.values(measure, system)
                queries += [
                    [
                        _cell(system),
                        _cell(str(qid)),
                        _cell(float(values[qid]), 3),
                        _cell(float(values[qid] - gain), 3),
                        _cell(float(gain), 3),
                    ]
                    for qid, gain in shown.items()
                ]
    columns = ["system", "measure", "wins", "ties", "losses", "mean difference"]
    yield _Table(f"Queries won and lost against {baseline}", columns, counts)
    if queries:
        columns = ["system", "query", f"{measures[0]} of the system", f"{measures[0]} of {baseline}", "difference"]
        caption = f"The queries with the largest differences in {measures[0]}"
        yield _Table(caption, columns, queries, is_folded=True)


def _images(results: Results) -> Iterator[_Image]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        if "qd_flops" in results.table:
            for measure in dict.fromkeys([results.measures[0], *({"RR@10"} & set(results.measures))]):
                plot_tradeoff(results.table, measure, path)
                yield _image(path, f"{measure} against QD-FLOPs (multiplications per pair of query and document)")
        if results.perquery is None:
            return
        baseline, *others = results.systems
        measure = results.measures[0]
        if measure in set(results.perquery["measure"]):
            for system in others:
                gained = differences(results, measure, system, baseline)
                plot_differences(gained, path, measure=measure, system=system, baseline=baseline)
                yield _image(path, f"{system} against {baseline}, query by query")


def _read_image(path: Path) -> _Image:
    if path.suffix.lower() not in _IMAGES:
        raise SettingError(f"{path} is neither PNG nor SVG, so the page cannot show it")
    return _image(path, path.stem)


def _image(path: Path, caption: str) -> _Image:
    data = base64.b64encode(path.read_bytes()).decode()
    return _Image(caption, f"data:{_IMAGES[path.suffix.lower()]};base64,{data}")


def _cell(value: object, decimals: int = 3, best: float | None = None) -> _Cell:
    if isinstance(value, float):
        if not math.isfinite(value):
            return _Cell("", None)
        return _Cell(f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}"), value, is_best=value == best)
    return _Cell(str(value), str(value))
