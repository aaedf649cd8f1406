"""The results of comparisons, written to their folders and read again. Imports no PyTerrier."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pandas as pd

from pyterrier_saesplade.collections import open_collection
from pyterrier_saesplade.errors import PathNotFoundError, SettingError
from pyterrier_saesplade.figures import plot_tradeoff

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


_RECALLS = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Results:
    """What :func:`~pyterrier_saesplade.evaluate` left in a folder, or a suite for one of its sets.

    Attributes:
        folder: The folder.
        title: What was compared.
        table: A row per system, as :class:`~pyterrier_saesplade.evaluation.results.Comparison` has it.
        measures: The names of the measures, in the table's order.
        about: Where the results come from: ``notes``, ``command``, ``versions``, ``date``, as far as they are known.
        perquery: ``name``, ``qid``, ``measure``, ``value``; ``None`` if the results are older than that.
    """

    folder: Path
    title: str
    table: pd.DataFrame
    measures: Sequence[str]
    about: Mapping[str, Any]
    perquery: pd.DataFrame | None

    @property
    def systems(self) -> list[str]:
        """The names of the systems; the compared model is the last."""
        return self.table["name"].tolist()

    def values(self, measure: str, system: str) -> pd.Series:
        """Returns the value of each query, by its qid.

        Raises:
            ValueError: If they are not known.
        """
        perquery = self._require_perquery()
        for column, wanted in (("name", system), ("measure", measure)):
            known = perquery[column].unique()
            if wanted not in known:
                raise SettingError(f"{self.folder / 'perquery.csv'} has no {wanted!r}; known are: {', '.join(known)}")
        chosen = perquery[(perquery["name"] == system) & (perquery["measure"] == measure)]
        return chosen.set_index("qid")["value"]

    def matching_qrels(self, qrels: pd.DataFrame) -> pd.DataFrame:
        """Returns those of the queries that were run: others would count as queries for which nothing was found.

        Args:
            qrels: The judgements of the collection, ``qid``, ``docno`` and ``label``.

        Raises:
            ValueError: If it is not known which queries were run, or one of them has no judgement.
        """
        run = self._require_perquery()["qid"].drop_duplicates()
        unjudged = run[~run.isin(qrels["qid"])]
        if not unjudged.empty:
            raise SettingError(
                f"the query {unjudged.iloc[0]!r} of {self.folder} has no judgements here: name the collection and the "
                "query set that were evaluated"
            )
        return qrels[qrels["qid"].isin(run)]

    def topics(self) -> pd.DataFrame:
        """Returns the queries of the collection that was evaluated, ``qid`` and ``query``.

        Raises:
            ValueError: If the results do not say which collection it was, or it is not there.
        """
        source = self.about.get("source")
        if source is None:
            raise SettingError(
                f"{self.folder} does not say where its collection is: evaluate again, or give the topics"
            )
        return open_collection(source).topics(self.about.get("settings", {}).get("query_set"))

    def _require_perquery(self) -> pd.DataFrame:
        if self.perquery is None:
            raise SettingError(f"{self.folder} has no perquery.csv, the values of each query: evaluate again")
        return self.perquery


def read_results(folder: str | os.PathLike[str]) -> list[Results]:
    """Reads the folder of a comparison, or of a suite.

    Args:
        folder: With ``results.json``, and what else is there of ``about.json`` and ``perquery.csv``; or with
            ``suite.json``, and a folder for each set.

    Returns:
        One, or those of a suite: first the means over its sets, if these share a measure, then each set.

    Raises:
        FileNotFoundError: If there are no results.
        ValueError: If a file cannot be read.

    Examples:
        >>> [results] = read_results("my-comparison")
        >>> results.table[["name", *results.measures]].columns.tolist()
        ['name', 'nDCG@10']
    """
    folder = Path(folder)
    if (folder / "suite.json").exists():
        return _read_suite(folder)
    if not (folder / "results.json").exists():
        raise PathNotFoundError(f"{folder} has no results.json: it is no folder that `saesplade evaluate` wrote")
    path = folder / "results.json"
    return [_results(folder, path, _read_json(path, list), _read_about(folder))]


def read_comparison(folder: str | os.PathLike[str]) -> Results:
    """Reads the folder of a comparison on one collection, with what is there for its queries.

    Raises:
        FileNotFoundError: If there are no results.
        ValueError: If a file cannot be read, or the folder is that of a suite.
    """
    results = read_results(folder)
    sets = [str(one.folder) for one in results if one.folder != Path(folder)]
    if sets:
        raise SettingError(f"{folder} is a suite: name the folder of a set, one of {', '.join(sets)}")
    return results[0]


def read_summary(folder: str | os.PathLike[str]) -> Results:
    """Reads a comparison, or of a suite the means over its sets.

    Raises:
        FileNotFoundError: If there are no results.
        ValueError: If a file cannot be read, or the sets share no measure.
    """
    first, *others = read_results(folder)
    if others and first.folder != Path(folder):
        raise SettingError(f"the sets of {folder} share no measure, so that it has no means: name the folder of a set")
    return first


def differences(results: Results, measure: str, system: str, baseline: str) -> pd.Series:
    """Returns what a system gains over a baseline on each query, the largest first; by qid.

    Raises:
        ValueError: If the values of the queries are not known, or the two have other queries.
    """
    ours, theirs = results.values(measure, system), results.values(measure, baseline)
    if set(ours.index) != set(theirs.index):
        raise SettingError(f"{results.folder}: {system} and {baseline} were not run on the same queries")
    return gains(ours, theirs)


def gains(ours: pd.Series, theirs: pd.Series) -> pd.Series:
    """Returns what one system gains over another, the largest gain first; both have the same queries, by qid."""
    return (ours - theirs.reindex(ours.index)).sort_values(ascending=False, kind="stable")


def precision_at_recall(run: pd.DataFrame, qrels: pd.DataFrame) -> list[float]:
    """Returns interpolated precision at recall 0, 0.1, ..., 1, the mean over the queries with judgements.

    Args:
        run: ``qid``, ``docno``, ``score``.
        qrels: ``qid``, ``docno``, ``label``; a query that was not run counts as one for which nothing was found, see
            :meth:`Results.matching_qrels`.

    Examples:
        The relevant document is second of three:

        >>> run = pd.DataFrame({"qid": ["q"] * 3, "docno": ["a", "b", "c"], "score": [3.0, 2.0, 1.0]})
        >>> precision_at_recall(run, pd.DataFrame({"qid": ["q"], "docno": ["b"], "label": [1]}))[:2]
        [0.5, 0.5]
    """
    measures = [ir_measures.IPrec @ round(float(recall), 1) for recall in _RECALLS]
    names = {"qid": "query_id", "docno": "doc_id", "label": "relevance"}
    values = ir_measures.calc_aggregate(measures, qrels.rename(columns=names), run.rename(columns=names))
    return [float(values[measure]) for measure in measures]


def joined(results: Iterable[tuple[str | None, Results]], measure: str) -> pd.DataFrame:
    """Returns one table over comparisons: ``name``, ``qd_flops`` and the measure.

    Args:
        results: Comparisons, each with the name that its compared model gets, or ``None`` to leave it as it is.
        measure: The measure.

    Raises:
        ValueError: If a comparison lacks the measure, or QD-FLOPs.
    """
    tables = []
    for name, one in results:
        if "qd_flops" not in one.table:
            raise SettingError(f"{one.folder} has no QD-FLOPs: evaluate again")
        if measure not in one.measures:
            raise SettingError(f"{one.folder} has no measure {measure}; known are: {', '.join(one.measures)}")
        table = one.table[["name", "qd_flops", measure]].copy()
        if name is not None:
            table.loc[table.index[-1], "name"] = name
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def read_sweep(path: str | os.PathLike[str], measure: str) -> pd.DataFrame:
    """Reads the table of a sweep, a CSV file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks one of the columns ``name``, ``k``, ``qd_flops`` and the measure, or has other than
            numbers in the last three.
    """
    numbers = ["k", "qd_flops", measure]
    try:
        return pd.read_csv(path)[["name", *numbers]].astype(dict.fromkeys(numbers, float))
    except (KeyError, ValueError) as error:
        raise SettingError(f"{path} must have the columns name, k, qd_flops and {measure}: {error}") from error


def read_runs(results: Results) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the name of each system with its run (``qid``, ``docno``, ``score``).

    Raises:
        FileNotFoundError: If a run is missing.
    """
    for name in results.systems:
        path = results.folder / "runs" / f"{name}.trec.gz"
        run = pd.DataFrame(ir_measures.read_trec_run(str(path)))
        yield name, run.rename(columns={"query_id": "qid", "doc_id": "docno"})


def read_log(model: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads what a training logged.

    Raises:
        FileNotFoundError: If the model's folder has no ``training.json``.
        ValueError: If that holds no log.
    """
    path = Path(model) / "training.json"
    if not path.exists():
        raise PathNotFoundError(f"{model} has no training.json: it is no folder of a model that was trained here")
    log = _read_json(path, dict).get("log")
    if not log:
        raise SettingError(f"{path} holds no log: the model was not trained")
    return list(log)


def _read_suite(folder: Path) -> list[Results]:
    path = folder / "suite.json"
    suite = _read_json(path, dict)
    try:
        title = f"{suite['suite']}: mean of {len(suite['sets'])} sets"
        # The notes are those of the sets.
        about = {"title": title} | _without(suite.get("about", {}), "notes")
        is_mean = bool(suite["mean"]) and about.get("measures") != []
        means = [_results(folder, path, suite["mean"], about)] if is_mean else []
        sets = [
            _results(folder / name, path, of_set["rows"], _read_about(folder / name) | _without(of_set, "rows"))
            for name, of_set in suite["sets"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingError(f"{path} is not as `saesplade evaluate` writes it: {error!r}") from error
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
        raise SettingError(f"{path} has no systems with names: it is not as `saesplade evaluate` writes it")
    # Null is a figure that is missing, such as the QD-FLOPs of a dense system.
    figures = [c for c in table.columns.drop("name") if all(isinstance(v, int | float | None) for v in table[c])]
    table[figures] = table[figures].astype(float)
    measures = about.get("measures") or [column for column in figures if column not in COSTS]
    if missing := set(measures) - set(figures):
        raise SettingError(f"{path} has no {', '.join(sorted(missing))}, of which about.json speaks")
    title = about.get("title") or folder.resolve().name
    return Results(folder, title, table, measures, about, _read_perquery(folder / "perquery.csv"))


def _read_perquery(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    # A system may be called "null".
    texts = dict.fromkeys(("name", "qid", "measure"), str)
    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={"value": [""]})
    if missing := {"name", "qid", "measure", "value"} - set(table.columns):
        raise SettingError(f"{path} has no column {', '.join(sorted(missing))}")
    return table


def _read_json(path: Path, kind: type) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, kind):
        raise SettingError(f"{path} is not as `saesplade evaluate` writes it")
    return content
