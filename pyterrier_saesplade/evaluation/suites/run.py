"""Evaluation of a suite, set by set. An interrupted evaluation resumes with the first set that is not done."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pyterrier_saesplade.collections import Collection, downloading, open_collection
from pyterrier_saesplade.errors import PathExistsError, SettingError
from pyterrier_saesplade.evaluation.experiment import RESULTS, evaluate, provenance, settings_of, write_json
from pyterrier_saesplade.evaluation.results import COSTS, read_results
from pyterrier_saesplade.evaluation.significance import compare
from pyterrier_saesplade.evaluation.suites.definition import Suite, SuiteSet, open_suite
from pyterrier_saesplade.evaluation.systems import check_systems, make_systems
from pyterrier_saesplade.figures import require_plots
from pyterrier_saesplade.files import atomic_write, read_json, require_new
from pyterrier_saesplade.metrics import parse_measures
from pyterrier_saesplade.model import SaeSpladeConfig
from pyterrier_saesplade.saesplade import SaeSplade, open_model

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

_log = logging.getLogger(__name__)

_SUITE = "suite.json"
#: The placeholder for the name of the set in the name of a model.
_PLACE = "{set}"


@dataclass(frozen=True)
class SuiteResults:
    """The results of a suite.

    Attributes:
        suite: The name of the suite.
        sets: For each set: its ``title``; the names of its ``measures``; its ``rows``, as in ``results.json``; and its
            ``significance``. That is a mark for each system: ``"+"`` or ``"-"`` if its first measure is significantly
            above or below the first system's (paired t-test, Holm's correction, p < 0.05), else ``""``.
        mean: A row for each system that all sets have, with its ``name`` and the means over the sets: of the measures
            that all sets share, and of the costs.
        about: The shared ``measures``, and ``notes``, ``command``, ``versions`` and ``date``.
    """

    suite: str
    sets: dict[str, dict[str, Any]]
    mean: list[dict[str, Any]]
    about: dict[str, Any]

    @property
    def table(self) -> pd.DataFrame:
        """The first measure of each set, with a row per system, and the mean if all sets share this measure."""
        columns = {
            f"{name} {one['measures'][0]}": {row["name"]: row[one["measures"][0]] for row in one["rows"]}
            for name, one in self.sets.items()
        }
        official = {one["measures"][0] for one in self.sets.values()}
        if len(official) == 1:
            (measure,) = official
            columns = dict(zip(self.sets, columns.values(), strict=True))
            columns["mean"] = {row["name"]: row[measure] for row in self.mean}
        systems = dict.fromkeys(row["name"] for one in self.sets.values() for row in one["rows"])
        return pd.DataFrame(columns, index=list(systems))

    def __str__(self) -> str:
        """Returns the table as text, with its title, marks of significance and mean costs."""
        official = dict.fromkeys(one["measures"][0] for one in self.sets.values())
        title = f"{self.suite}: {', '.join(official)} of {len(self.sets)} set(s)"
        table = self.table.map(lambda value: "" if pd.isna(value) else f"{value:.3f}")
        for column, one in zip(table.columns, self.sets.values(), strict=False):  # the mean has no test
            table[column] += [one["significance"].get(name) or " " for name in table.index]
        for cost, name, decimals in (("qd_flops", "QD-FLOPs", 2), ("index_mb", "MB", 1), ("mrt", "ms/query", 1)):
            means = {row["name"]: row[cost] for row in self.mean}
            values = [means.get(system) for system in table.index]
            table[name] = ["" if value is None else f"{value:.{decimals}f}" for value in values]
        first = next(iter(self.sets.values()))["rows"][0]["name"]
        note = f"+ and -: significantly above and below {first} (paired t-test, Holm's correction, p < 0.05); "
        return f"{title}\n\n{table.to_string()}\n\n{note}costs are means over the sets"


def evaluate_suite(
    suite: Suite | str | os.PathLike[str],
    model: str | None,
    out: str | os.PathLike[str],
    *,
    sets: Sequence[str] = (),
    pretrain: str | None = None,
    baselines: Iterable[str] = ("bm25", "dense"),
    measures: Iterable[str] | None = None,
    indexes: str | os.PathLike[str] | None = None,
    command: str | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> SuiteResults:
    """Compares a model with baselines on each set of a suite; see :func:`~pyterrier_saesplade.evaluate`.

    The results of a set are in ``out/SET``. If this function is called again, it skips every set that has a
    ``results.json`` made with the same model, baselines, measures and lengths; it does not check whether the documents
    changed. An interrupted set is evaluated from the start, with the indexes that exist. At the end, ``out/suite.json``
    has all rows and the means, for the given sets and for all other sets of the suite with results in the same
    settings. Sets with the same documents share their indexes.

    Args:
        suite: A suite, or a name that :func:`open_suite` accepts.
        model: Folder or hub name of a model, or ``splade=NAME``; ``{set}`` in it is replaced by the name of the set.
        out: The folder of results.
        sets: The names of the sets to evaluate; empty for all.
        pretrain: A backbone, instead of a model. A label-free model is trained from it on the documents of each set, in
            ``out/SET/model``, unless there is one already.
        baselines: The baselines, as for a single collection.
        measures: Names of measures, instead of the suite's.
        indexes: The folder of indexes; ``out/indexes`` by default.
        command: The command line to record in the results.
        overwrite: Evaluate all sets again, and replace their results.
        **settings: Keyword arguments of :class:`~pyterrier_saesplade.SaeSplade`; lengths override the suite's.

    Raises:
        PathExistsError: If a set was evaluated with other settings, and ``overwrite`` is false.
        SettingError: If there is no such suite or set, or :func:`~pyterrier_saesplade.evaluate` raises it.
        DataError: If a dataset could not be downloaded, or :func:`~pyterrier_saesplade.evaluate` raises it.

    Examples:
        >>> results = evaluate_suite("my-suite", "my-model", "suite-results", baselines=["bm25"], measures=["nDCG@10"])
        >>> results.table.columns.tolist()
        ['animals', 'mean']
    """
    out = Path(out)
    if (model is None) == (pretrain is None):
        raise SettingError("give either a model, or a backbone from which to pre-train one")
    require_plots()
    suite = suite if isinstance(suite, Suite) else open_suite(suite)
    asked = suite.only(sets).sets
    suite = suite.whole
    _check_new(out / _SUITE, suite.name, overwrite=overwrite)
    baselines = list(baselines)
    check_systems(baselines)
    chosen = None if measures is None else tuple(str(measure) for measure in parse_measures(measures))
    given = {name: value for name, value in settings.items() if value is not None}

    def plan(name: str) -> _Plan:
        one = suite.sets[name]
        return _Plan(
            name=name,
            one=one if chosen is None else replace(one, measures=chosen),
            collection=open_collection(one.collection, one.language),
            folder=out / name,
            model=None if model is None else model.replace(_PLACE, name),
            pretrain=pretrain,
            baselines=baselines,
            settings=given,
        )

    # Checks all sets before the long work begins.
    waiting = [one for one in map(plan, asked) if not one.is_done(overwrite=overwrite)]
    for number, one in enumerate(waiting, start=1):
        _log.info("%s (%d of %d)", one.name, number, len(waiting))
        one.run(Path(indexes or out / "indexes"), command)
    done = [name for name in suite.sets if name in asked or _is_done_too(plan, name, out)]
    results = _joined(suite.only(done), out, command)
    with atomic_write(out / _SUITE) as partial:
        write_json(vars(results), partial)
    return results


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The evaluation of one set."""

    name: str
    one: SuiteSet
    collection: Collection
    folder: Path
    model: str | None
    pretrain: str | None
    baselines: list[str]
    settings: dict[str, Any]

    def is_done(self, *, overwrite: bool) -> bool:
        """Returns whether the set has results that were made with the same settings.

        Raises:
            PathExistsError: If it has results that were made with other settings.
        """
        trained = self.pretrain is None or (self.folder / "model").exists()
        # Makes the systems even if there are no results, so that an invalid name is found before any work.
        systems = make_systems(self.baselines, self._open(), self.collection.language) if trained else None
        if overwrite or not (self.folder / "results.json").exists():
            return False
        made = read_json(self.folder / "about.json").get("settings")
        expected = None if systems is None else settings_of(systems, self.one.measures, **self._of_set())
        if made != expected:
            raise PathExistsError(
                f"{self.folder} has results with other settings (model, baselines, measures, lengths, language or "
                "identical ids): give another folder, or overwrite them"
            )
        return True

    def run(self, indexes: Path, command: str | None) -> None:
        """Evaluates the set, and replaces what an interrupted evaluation left."""
        _fetch(self.collection, self.one.query_set)
        evaluate(
            self.collection,
            self._open(),
            self.folder,
            baselines=self.baselines,
            measures=self.one.measures,
            indexes=indexes,
            command=command,
            overwrite=True,
            **self._of_set(),
        )

    def _of_set(self) -> dict[str, Any]:
        return {"query_set": self.one.query_set, "ignore_identical_ids": self.one.ignore_identical_ids}

    def _open(self) -> SaeSplade:
        lengths = {name: getattr(self.one, name) for name in ("doc_max_length", "query_max_length")}
        settings = {name: value for name, value in lengths.items() if value is not None} | self.settings
        return open_model(self.model or str(self._pretrained()), **settings)

    def _pretrained(self) -> Path:
        folder = self.folder / "model"
        if not folder.exists():
            device = self.settings.get("device")
            SaeSplade.pretrain(
                str(self.pretrain), self.collection.get_corpus_iter(), out=folder, device=device, verbose=True
            )
        elif (found := SaeSpladeConfig.from_pretrained(folder).backbone) != self.pretrain:
            raise SettingError(f"{folder} was trained from {found}, not from {self.pretrain}: give another folder")
        return folder


def _is_done_too(plan: Callable[[str], _Plan], name: str, out: Path) -> bool:
    """Returns whether a set outside this run has results in the same settings; logs the reason if they differ."""
    if not (out / name / "results.json").exists():
        return False
    try:
        return plan(name).is_done(overwrite=False)
    except (ValueError, OSError) as error:
        _log.warning("%s is left out of %s: %s", name, out / _SUITE, error)
        return False


def _check_new(path: Path, suite: str, *, overwrite: bool) -> None:
    """Checks that a folder has no results of another suite or of a comparison. Results of the same suite may stay."""
    if path.exists() and not overwrite:
        there = read_json(path).get("suite")
        if there != suite:
            raise PathExistsError(
                f"{path.parent} has results of the suite {there}, not {suite}: give another folder, or overwrite them"
            )
    for name in RESULTS:
        require_new(path.parent / name, overwrite=overwrite)


def _fetch(collection: Collection, query_set: str | None) -> None:
    """Downloads a dataset before any other work."""
    with downloading(collection.name):
        collection.topics(query_set)
        collection.qrels(query_set)
        next(collection.get_corpus_iter(), None)


def _joined(suite: Suite, out: Path, command: str | None) -> SuiteResults:
    sets, notes = {}, {}
    for name in suite.sets:
        about = read_json(out / name / "about.json")
        rows = read_json(out / name / "results.json")
        significance = _significance(out / name, about["measures"][0], rows[0]["name"])
        sets[name] = {
            "title": about["title"] if about["collection"] == name else f"{name} ({about['title']})",
            "measures": about["measures"],
            "rows": rows,
            "significance": significance,
        }
        notes[name] = about["notes"]
    mean, shared = _means([(one["measures"], one["rows"]) for one in sets.values()])
    return SuiteResults(suite.name, sets, mean, {"measures": shared, "notes": notes, **provenance(command)})


def _significance(folder: Path, measure: str, baseline: str) -> dict[str, str]:
    (results,) = read_results(folder)
    perquery = results.require_perquery()
    compared = compare(perquery[perquery["measure"] == measure], baseline)
    if compared.empty:
        return {}
    marks = np.where(compared["significant"], np.where(compared["difference"] > 0, "+", "-"), "")
    return dict(zip(compared["name"], marks.tolist(), strict=True))


def _means(sets: Sequence[tuple[list[str], list[dict[str, Any]]]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the means of the shared measures and of the costs, for the systems that all sets have."""
    shared = [measure for measure in sets[0][0] if all(measure in measures for measures, _ in sets)]
    tables = [{row["name"]: row for row in rows} for _, rows in sets]
    systems = [name for name in tables[0] if all(name in table for table in tables)]
    rows = [
        {"name": name, **{column: _mean([table[name][column] for table in tables]) for column in [*shared, *COSTS]}}
        for name in systems
    ]
    return rows, shared


def _mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean; ``None`` if a value is missing, such as the QD-FLOPs of a dense system."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
