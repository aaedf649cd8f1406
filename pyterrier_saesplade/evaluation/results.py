"""Writes the results of comparisons to folders, and reads them. Does not import PyTerrier."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ir_measures
import numpy as np
import pandas as pd

from pyterrier_saesplade.collections import open_collection
from pyterrier_saesplade.errors import DataError, PathNotFoundError, SettingError
from pyterrier_saesplade.figures import plot_tradeoff
from pyterrier_saesplade.files import read_json

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: The columns after the name and the measures, with the number of decimals that the table shows.
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
    """The results of an experiment.

    Attributes:
        title: The name of the collection, and its numbers of documents and judged queries.
        table: A row per system: ``name``; the measures under their names in ir_measures; ``qd_flops`` (multiplications
            per pair of query and document; missing for a dense system); ``index_mb`` (10^6 bytes on disk); ``mrt``
            (milliseconds per query, encoding included) and its parts, ``encode_ms_per_query`` and
            ``retrieve_ms_per_query``; ``build_seconds`` (the time to encode and index all documents, measured when the
            index was built).
        measures: The names of the measures, in the order of the table.
        notes: A description of each system.
        index: The folder of the compared model's index.

    Examples:
        >>> table = pd.DataFrame({"name": ["dense"], "RR@10": [0.57], **dict.fromkeys(COSTS, 1.0)})
        >>> comparison = Comparison("my-collection", table, ["RR@10"], ["dense: a bi-encoder"], Path("my-index"))
        >>> str(comparison).splitlines()[-1]
        'dense: a bi-encoder'
    """

    title: str
    table: pd.DataFrame
    measures: Sequence[str]
    notes: Sequence[str]
    index: Path

    def __str__(self) -> str:
        """Returns the table as text, with the notes below it."""
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


_RECALLS = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Results:
    """Results of :func:`~pyterrier_saesplade.evaluate` read from a folder: a comparison, or a set of a suite.

    Attributes:
        folder: The folder.
        title: The title of the comparison.
        table: A row per system, as in :class:`~pyterrier_saesplade.evaluation.results.Comparison`.
        measures: The names of the measures, in the order of the table.
        about: The origin of the results: ``notes``, ``command``, ``versions`` and ``date``, if they are known.
        perquery: The values of each query, ``name``, ``qid``, ``measure`` and ``value``; ``None`` if there is no file
            of them.
    """

    folder: Path
    title: str
    table: pd.DataFrame
    measures: Sequence[str]
    about: Mapping[str, Any]
    perquery: pd.DataFrame | None

    @property
    def systems(self) -> list[str]:
        """The names of the systems. The compared model is the last one."""
        return self.table["name"].tolist()

    def values(self, measure: str, system: str) -> pd.Series:
        """Returns the value of each query, by qid.

        Raises:
            DataError: If the values of the queries are not known.
            SettingError: If the measure or the system is not known.
        """
        perquery = self.require_perquery()
        for column, wanted in (("name", system), ("measure", measure)):
            known = perquery[column].unique()
            if wanted not in known:
                raise SettingError(
                    f"{self.folder / 'perquery.csv'} has no {column} {wanted!r}; it has: {', '.join(known)}"
                )
        chosen = perquery[(perquery["name"] == system) & (perquery["measure"] == measure)]
        return chosen.set_index("qid")["value"]

    def matching_qrels(self, qrels: pd.DataFrame) -> pd.DataFrame:
        """Returns the qrels of the queries that were run. Others would count as queries without any results.

        Args:
            qrels: The qrels of the collection, ``qid``, ``docno`` and ``label``.

        Raises:
            DataError: If it is not known which queries were run, or one of them has no qrels.
        """
        run = self.require_perquery()["qid"].drop_duplicates()
        unjudged = run[~run.isin(qrels["qid"])]
        if not unjudged.empty:
            raise DataError(
                f"the query {unjudged.iloc[0]!r} of {self.folder} has no qrels here: give the collection and the query "
                "set that were evaluated"
            )
        return qrels[qrels["qid"].isin(run)]

    def topics(self) -> pd.DataFrame:
        """Returns the queries of the collection that was evaluated, ``qid`` and ``query``.

        Raises:
            DataError: If the results do not record the collection.
            SettingError: If there is no such collection any more.
        """
        source = self.about.get("source")
        if source is None:
            raise DataError(f"{self.folder} does not record its collection: evaluate again, or give the topics")
        return open_collection(source).topics(self.about.get("settings", {}).get("query_set"))

    def require_perquery(self) -> pd.DataFrame:
        """Returns the values of each query, see ``perquery``.

        Raises:
            DataError: If they are not known.
        """
        if self.perquery is None:
            raise DataError(f"{self.folder} has no perquery.csv with the values of each query: evaluate again")
        return self.perquery

    def require_measure(self, measure: str) -> None:
        """Raises :exc:`SettingError` unless the table has the measure."""
        if measure not in self.measures:
            raise SettingError(f"{self.folder} has no measure {measure}; it has: {', '.join(self.measures)}")


def read_results(folder: str | os.PathLike[str]) -> list[Results]:
    """Reads the folder of a comparison or a suite.

    Args:
        folder: The folder of a comparison, with ``results.json`` and, if they exist, ``about.json`` and
            ``perquery.csv``; or the folder of a suite, with ``suite.json`` and a folder for each set.

    Returns:
        The results of the comparison; for a suite, first the means over its sets, if they share a measure, and then the
        results of each set.

    Raises:
        PathNotFoundError: If there are no results.
        DataError: If a file cannot be read.

    Examples:
        >>> [results] = read_results("my-comparison")
        >>> results.table[["name", *results.measures]].columns.tolist()
        ['name', 'nDCG@10']
    """
    folder = Path(folder)
    if (folder / "suite.json").exists():
        return _read_suite(folder)
    if not (folder / "results.json").exists():
        raise PathNotFoundError(f"{folder} has no results.json: give a folder that `saesplade evaluate` wrote")
    path = folder / "results.json"
    return [_results(folder, path, _read_json(path, list), _read_about(folder))]


def read_comparison(folder: str | os.PathLike[str]) -> Results:
    """Reads the folder of a comparison on one collection.

    Raises:
        PathNotFoundError: If there are no results.
        DataError: If a file cannot be read.
        SettingError: If the folder is a suite.

    Examples:
        >>> read_comparison("my-comparison").systems
        ['bm25', 'saesplade']
    """
    results = read_results(folder)
    sets = [str(one.folder) for one in results if one.folder != Path(folder)]
    if sets:
        raise SettingError(f"{folder} is a suite: give the folder of one of its sets, {', '.join(sets)}")
    return results[0]


def read_summary(folder: str | os.PathLike[str]) -> Results:
    """Reads a comparison; for a suite, the means over its sets.

    Raises:
        PathNotFoundError: If there are no results.
        DataError: If a file cannot be read.
        SettingError: If the sets of a suite share no measure.

    Examples:
        >>> read_summary("my-comparison").measures
        ['nDCG@10']
    """
    first, *others = read_results(folder)
    if others and first.folder != Path(folder):
        raise SettingError(f"{folder} has no means, as its sets share no measure: give the folder of a set")
    return first


def differences(results: Results, measure: str, system: str, baseline: str) -> pd.Series:
    """Returns the gain of a system over a baseline on each query, by qid, in descending order.

    Raises:
        DataError: If the values of the queries are not known, or the two systems were run on different queries.
        SettingError: If the measure or a system is not known.

    Examples:
        >>> gained = differences(read_comparison("my-comparison"), "nDCG@10", "saesplade", "bm25")
        >>> len(gained)
        4
    """
    ours, theirs = results.values(measure, system), results.values(measure, baseline)
    if set(ours.index) != set(theirs.index):
        raise DataError(f"{results.folder}: {system} and {baseline} were not run on the same queries")
    return gains(ours, theirs)


def gains(ours: pd.Series, theirs: pd.Series) -> pd.Series:
    """Returns the differences of two systems' values in descending order. Both are indexed by the same qids."""
    return (ours - theirs.reindex(ours.index)).sort_values(ascending=False, kind="stable")


def precision_at_recall(run: pd.DataFrame, qrels: pd.DataFrame) -> list[float]:
    """Returns interpolated precision at recall 0, 0.1, ..., 1, as the mean over the queries with qrels.

    Args:
        run: The results, ``qid``, ``docno`` and ``score``.
        qrels: The qrels, ``qid``, ``docno`` and ``label``. A query that was not run counts as one without any results,
            see :meth:`Results.matching_qrels`.

    Examples:
        The relevant document is the second of three:

        >>> run = pd.DataFrame({"qid": ["q"] * 3, "docno": ["a", "b", "c"], "score": [3.0, 2.0, 1.0]})
        >>> precision_at_recall(run, pd.DataFrame({"qid": ["q"], "docno": ["b"], "label": [1]}))[:2]
        [0.5, 0.5]
    """
    measures = [ir_measures.IPrec @ round(float(recall), 1) for recall in _RECALLS]
    names = {"qid": "query_id", "docno": "doc_id", "label": "relevance"}
    values = ir_measures.calc_aggregate(measures, qrels.rename(columns=names), run.rename(columns=names))
    return [float(values[measure]) for measure in measures]


def joined(results: Iterable[tuple[str | None, Results]], measure: str) -> pd.DataFrame:
    """Returns one table of several comparisons: ``name``, ``qd_flops`` and the measure.

    Args:
        results: The comparisons, each with a new name for its compared model, or ``None`` to keep the name.
        measure: The measure.

    Raises:
        SettingError: If a comparison does not have the measure.
        DataError: If a comparison does not have QD-FLOPs.

    Examples:
        >>> joined([("small", read_comparison("my-comparison"))], "nDCG@10")["name"].tolist()
        ['bm25', 'small']
    """
    tables = []
    for name, one in results:
        if "qd_flops" not in one.table:
            raise DataError(f"{one.folder} has no QD-FLOPs: evaluate again")
        one.require_measure(measure)
        table = one.table[["name", "qd_flops", measure]].copy()
        if name is not None:
            table.loc[table.index[-1], "name"] = name
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def read_sweep(path: str | os.PathLike[str], measure: str) -> pd.DataFrame:
    """Reads the table of a sweep from a CSV file.

    Raises:
        PathNotFoundError: If there is no such file.
        DataError: If one of the columns ``name``, ``k``, ``qd_flops`` and the measure is missing, or one of the last
            three has a value that is not a number.

    Examples:
        >>> table = pd.DataFrame({"name": "saesplade", "k": [4, 8], "qd_flops": [0.8, 2.1], "nDCG@10": [0.61, 0.65]})
        >>> table.to_csv("k.csv")
        >>> read_sweep("k.csv", "nDCG@10")["k"].tolist()
        [4.0, 8.0]
    """
    numbers = ["k", "qd_flops", measure]
    try:
        return pd.read_csv(path)[["name", *numbers]].astype(dict.fromkeys(numbers, float))
    except FileNotFoundError as error:
        raise PathNotFoundError(f"there is no file {path}") from error
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} must have the columns name, k, qd_flops and {measure}: {error}") from error


def read_runs(results: Results) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the name and the run (``qid``, ``docno``, ``score``) of each system.

    Raises:
        PathNotFoundError: If a run is missing.

    Examples:
        >>> [name for name, run in read_runs(read_comparison("my-comparison"))]
        ['bm25', 'saesplade']
    """
    for name in results.systems:
        path = results.folder / "runs" / f"{name}.trec.gz"
        if not path.is_file():
            raise PathNotFoundError(f"there is no run {path}: evaluate again")
        run = pd.DataFrame(ir_measures.read_trec_run(str(path)))
        yield name, run.rename(columns={"query_id": "qid", "doc_id": "docno"})


def read_log(model: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the log of a training run.

    Raises:
        PathNotFoundError: If the folder of the model has no ``training.json``.
        DataError: If this file has no log.

    Examples:
        >>> Path("trained").mkdir()
        >>> _ = Path("trained", "training.json").write_text('{"log": [{"step": 10, "loss": 2.5}]}')
        >>> read_log("trained")
        [{'step': 10, 'loss': 2.5}]
    """
    path = Path(model) / "training.json"
    if not path.exists():
        raise PathNotFoundError(f"{model} has no training.json: give the folder of a model that saesplade trained")
    log = _read_json(path, dict).get("log")
    if not log:
        raise DataError(f"{path} has no log: the model was not trained")
    return list(log)


def _read_suite(folder: Path) -> list[Results]:
    path = folder / "suite.json"
    suite = _read_json(path, dict)
    try:
        title = f"{suite['suite']}: mean of {len(suite['sets'])} sets"
        # The notes of the suite repeat the notes of its sets.
        about = {"title": title} | _without(suite.get("about", {}), "notes")
        is_mean = bool(suite["mean"]) and about.get("measures") != []
        means = [_results(folder, path, suite["mean"], about)] if is_mean else []
        sets = [
            _results(folder / name, path, of_set["rows"], _read_about(folder / name) | _without(of_set, "rows"))
            for name, of_set in suite["sets"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} was not written by `saesplade evaluate`: {error!r}") from error
    return [*means, *sets]


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / "about.json"
    about: dict[str, Any] = _read_json(path, dict) if path.exists() else {}
    return about


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def _results(folder: Path, path: Path, rows: list[dict[str, Any]], about: Mapping[str, Any]) -> Results:
    table = pd.DataFrame(rows)
    if "name" not in table.columns:
        raise DataError(f"{path} was not written by `saesplade evaluate`: it has no names of systems")
    # Null is a missing number, such as the QD-FLOPs of a dense system.
    numbers = [c for c in table.columns.drop("name") if all(isinstance(v, int | float | None) for v in table[c])]
    table[numbers] = table[numbers].astype(float)
    measures = about.get("measures") or [column for column in numbers if column not in COSTS]
    if missing := set(measures) - set(numbers):
        raise DataError(f"{path} has no {', '.join(sorted(missing))}, but about.json lists them")
    title = about.get("title") or folder.resolve().name
    return Results(folder, title, table, measures, about, _read_perquery(folder / "perquery.csv"))


def _read_perquery(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    # By default, pandas would read a system called "null" as a missing value.
    strings = dict.fromkeys(("name", "qid", "measure"), str)
    table = pd.read_csv(path, dtype=strings, keep_default_na=False, na_values={"value": [""]})
    if missing := {"name", "qid", "measure", "value"} - set(table.columns):
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}")
    return table


def _read_json(path: Path, kind: type) -> Any:
    content = read_json(path)
    if not isinstance(content, kind):
        raise DataError(f"{path} was not written by `saesplade evaluate`")
    return content
