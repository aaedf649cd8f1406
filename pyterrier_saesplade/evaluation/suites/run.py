"""Evaluation of a suite: set by set, so that what is done is not done again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyterrier_saesplade.collections import Collection, open_collection
from pyterrier_saesplade.errors import PathExistsError, SettingError
from pyterrier_saesplade.evaluation.experiment import RESULTS, evaluate, provenance, settings_of, write_json
from pyterrier_saesplade.evaluation.results import COSTS, read_results
from pyterrier_saesplade.evaluation.significance import compare
from pyterrier_saesplade.evaluation.suites.definition import Suite, SuiteSet, open_suite
from pyterrier_saesplade.evaluation.systems import check_systems, make_systems
from pyterrier_saesplade.figures import require_plots
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.metrics import parse_measures
from pyterrier_saesplade.model import SaeSpladeConfig
from pyterrier_saesplade.saesplade import SaeSplade, open_model

_log = logging.getLogger(__name__)

_SUITE = "suite.json"
_PLACE = "{set}"


@dataclass(frozen=True)
class SuiteResults:
    """The outcome of a suite.

    Attributes:
        suite: Its name.
        sets: Of each set the ``title``, the names of its ``measures``, as ``rows`` what its ``results.json`` holds, and
            as ``significance``, by system, ``"+"`` or ``"-"`` where its first measure is above or below that of the
            first system (paired t-test, Holm's correction, p < 0.05), else ``""``.
        mean: A row for each system that all sets have: its ``name``, and the means over the sets of the measures that
            all sets share and of the costs.
        about: ``measures`` (the shared ones), ``notes``, ``command``, ``versions`` and ``date``.
    """

    suite: str
    sets: dict[str, dict[str, Any]]
    mean: list[dict[str, Any]]
    about: dict[str, Any]

    @property
    def table(self) -> pd.DataFrame:
        """Systems by sets, each set's first measure; the last column is the mean, where the sets share that measure."""
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
        """The table as text, with marks of significance and the mean costs, under the name of the suite."""
        official = dict.fromkeys(one["measures"][0] for one in self.sets.values())
        title = f"{self.suite}: {', '.join(official)} of {len(self.sets)} set(s)"
        table = self.table.map(lambda value: "" if pd.isna(value) else f"{value:.3f}")
        for column, one in zip(table.columns, self.sets.values(), strict=False):  # the mean is tested nowhere
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

    The results of a set are in ``out/SET``. When this is called again, a set that has a ``results.json`` is done, if it
    was made with the same model, baselines, measures and lengths (whether the documents changed is not looked at); one
    that was interrupted is evaluated from its start, with the indexes that are there. At the end ``out/suite.json``
    holds all rows and the means: of the sets that were asked for, and of those of the suite that are done in the same
    way already. Indexes are shared between sets that have the same documents.

    Args:
        suite: A suite, or what :func:`open_suite` takes.
        model: Folder or hub name of a model, or ``splade=NAME``; ``{set}`` in it is replaced by the set's name.
        out: The folder of results.
        sets: The names of the sets to evaluate, if not all.
        pretrain: In place of a model a backbone, of which a label-free model is trained for each set on its documents,
            into ``out/SET/model``, unless there is one.
        baselines: As for a single collection.
        measures: In place of the suite's.
        indexes: The folder of indexes; ``out/indexes`` unless given.
        command: The command line to name in what is written.
        overwrite: Evaluate again what is done, and replace it.
        **settings: Those of :class:`~pyterrier_saesplade.SaeSplade`; lengths go before the suite's.

    Raises:
        FileExistsError: If a set was evaluated with other settings, and ``overwrite`` is false.
        ValueError: If there is no such suite or set, a data set cannot be had, or for the reasons of ``evaluate``.

    Examples:
        >>> results = evaluate_suite("my-suite", "my-model", "suite-results", baselines=["bm25"], measures=["nDCG@10"])
        >>> results.table.columns.tolist()
        ['animals', 'mean']
    """
    out = Path(out)
    if (model is None) == (pretrain is None):
        raise SettingError("give either a model or the backbone to pre-train one from")
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

    # All of them before long work.
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
    """What is to be done for a set."""

    name: str
    one: SuiteSet
    collection: Collection
    folder: Path
    model: str | None
    pretrain: str | None
    baselines: list[str]
    settings: dict[str, Any]

    def is_done(self, *, overwrite: bool) -> bool:
        """Whether the set has the results that would come out.

        Raises:
            FileExistsError: If it has others.
        """
        trained = self.pretrain is None or (self.folder / "model").exists()
        # A wrong name is found at the first set, not at the last.
        systems = make_systems(self.baselines, self._open(), self.collection.language) if trained else None
        if overwrite or not (self.folder / "results.json").exists():
            return False
        made = json.loads((self.folder / "about.json").read_text(encoding="utf-8")).get("settings")
        expected = None if systems is None else settings_of(systems, self.one.measures, **self._of_set())
        if made != expected:
            raise PathExistsError(
                f"{self.folder} holds results with other settings (model, baselines, measures, lengths, language or "
                "exclusion of own documents): name another folder, or ask to overwrite them"
            )
        return True

    def run(self, indexes: Path, command: str | None) -> None:
        """Evaluates the set; what an interrupted evaluation left is replaced."""
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
            raise SettingError(f"{folder} was trained from {found}, not from {self.pretrain}: name another folder")
        return folder


def _is_done_too(plan: Callable[[str], _Plan], name: str, out: Path) -> bool:
    """Whether a set that was not asked for has the results that would come out; what speaks against it is logged."""
    if not (out / name / "results.json").exists():
        return False
    try:
        return plan(name).is_done(overwrite=False)
    except (ValueError, OSError) as error:
        _log.warning("%s is left out of %s: %s", name, out / _SUITE, error)
        return False


def _check_new(path: Path, suite: str, *, overwrite: bool) -> None:
    """A suite may be continued; another suite's results are not touched."""
    if path.exists() and not overwrite:
        there = json.loads(path.read_text(encoding="utf-8")).get("suite")
        if there != suite:
            raise PathExistsError(
                f"{path.parent} holds results of the suite {there}, not of {suite}: name another folder, or ask to "
                "overwrite them"
            )
    for name in RESULTS:
        require_new(path.parent / name, overwrite=overwrite)


def _fetch(collection: Collection, query_set: str | None) -> None:
    """Has a data set downloaded before anything else is done."""
    try:
        collection.topics(query_set)
        collection.qrels(query_set)
        next(collection.get_corpus_iter(), None)
    except (RuntimeError, OSError) as error:  # ir_datasets raises either when no source of a download works
        raise SettingError(f"{collection.name} cannot be had: {error}") from error


def _joined(suite: Suite, out: Path, command: str | None) -> SuiteResults:
    sets, notes = {}, {}
    for name in suite.sets:
        about = json.loads((out / name / "about.json").read_text(encoding="utf-8"))
        rows = json.loads((out / name / "results.json").read_text(encoding="utf-8"))
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
    perquery = results.perquery
    if perquery is None:
        raise SettingError(
            f"{folder} has no perquery.csv, the values of each query: evaluate the set again (overwrite)"
        )
    compared = compare(perquery[perquery["measure"] == measure], baseline)
    if compared.empty:
        return {}
    marks = np.where(compared["significant"], np.where(compared["difference"] > 0, "+", "-"), "")
    return dict(zip(compared["name"], marks.tolist(), strict=True))


def _means(sets: Sequence[tuple[list[str], list[dict[str, Any]]]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The means of the measures that all sets share and of the costs, by the systems that all have."""
    shared = [measure for measure in sets[0][0] if all(measure in measures for measures, _ in sets)]
    tables = [{row["name"]: row for row in rows} for _, rows in sets]
    systems = [name for name in tables[0] if all(name in table for table in tables)]
    rows = [
        {"name": name, **{column: _mean([table[name][column] for table in tables]) for column in [*shared, *COSTS]}}
        for name in systems
    ]
    return rows, shared


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; ``None`` if one is missing, as the QD-FLOPs of a dense system."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
