"""A model beside its baselines on one collection, in one experiment."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.evaluation.collections import Collection, check_identifier, open_collection
from pyterrier_saesplade.evaluation.measures import DEFAULT_MEASURES, parse_measures
from pyterrier_saesplade.evaluation.named import make_systems
from pyterrier_saesplade.evaluation.plots import require_plots
from pyterrier_saesplade.evaluation.report import Comparison
from pyterrier_saesplade.evaluation.runs import write_run
from pyterrier_saesplade.evaluation.systems import Concepts, Corpus, Indexes, System
from pyterrier_saesplade.files import beside, require_new
from pyterrier_saesplade.saesplade import SaeSplade

_log = logging.getLogger(__name__)

_RESULTS = ("results.json", "results.csv", "results.png", "runs")


def evaluate(
    collection: Collection | str | os.PathLike[str],
    model: SaeSplade | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    baselines: Iterable[str] = ("bm25", "dense"),
    measures: Iterable[str] = DEFAULT_MEASURES,
    overwrite: bool = False,
) -> Comparison:
    """Compares a model with baselines on a collection, with one ``pt.Experiment``.

    Indexes that are missing are built under ``out/indexes``; those that are there are used again when they were made
    from the same documents by the same system. Only queries with judgements are run. The results are ``results.json``,
    ``results.csv`` and ``results.png`` (see :class:`~pyterrier_saesplade.evaluation.report.Comparison`), and a TREC run
    of depth 1,000 per system in ``runs/``; they are written beside and moved into place when they are complete.

    Args:
        collection: A collection, or what :func:`~pyterrier_saesplade.evaluation.collections.open_collection` takes.
        model: A model, or its folder or hub name.
        out: The folder of indexes and results.
        baselines: ``bm25`` (Terrier's, k1 0.9, b 0.4), ``dense`` (``pyterrier_dr`` with the model's backbone),
            ``splade=FOLDER``, ``words+concepts`` and others: see
            :func:`~pyterrier_saesplade.evaluation.named.make_systems`.
        measures: Names of ir_measures.
        overwrite: Replace results that are there; of ``runs/`` only the files of the systems that are compared.

    Returns:
        The table, the model's line last; ``str()`` shows it with a note for each system.

    Raises:
        ValueError: If a baseline or measure is unknown, a qid or docno cannot stand in a run file, or no query
            is judged.
        FileExistsError: If there are results in ``out`` and ``overwrite`` is false.
        ImportError: If matplotlib, or what a baseline needs, is not installed.

    Examples:
        >>> print(evaluate("docstrings", "model", "comparison", measures=["nDCG@10", "AP(rel=2)"]))  # doctest: +SKIP
    """
    out = Path(out)
    for name in _RESULTS:
        require_new(out / name, overwrite=overwrite)
    require_plots()
    parsed = parse_measures(measures)
    collection = collection if isinstance(collection, Collection) else open_collection(collection)
    model = model if isinstance(model, SaeSplade) else SaeSplade.from_pretrained(model)
    systems = make_systems(baselines, model)
    compared = systems[-1]
    assert isinstance(compared, Concepts)
    topics, qrels = _judged(collection)
    indexes = Indexes(Corpus.read(collection), out / "indexes")

    searches = [_Search(system, indexes) for system in systems]
    table = _run(searches, topics, qrels, parsed)
    title = f"{collection.name}: {indexes.corpus.n_docs:,} documents, {len(topics):,} judged queries"
    comparison = Comparison(
        title,
        table,
        [str(measure) for measure in parsed],
        [system.note for system in systems],
        indexes.path(compared),
    )
    with beside(out / "results") as staging:
        (staging / "runs").mkdir(parents=True)
        for search in searches:
            name = search.system.name
            write_run(search.retrieve.output, staging / "runs" / f"{name}.trec.gz", tag=name)
        comparison.write(staging)
        _move_in(staging, out)
    return comparison


class _Timed(pt.Transformer):
    """A stage that remembers how long it took and what it gave; empty frames, which only inspect it, don't count."""

    def __init__(self, stage: pt.Transformer) -> None:
        self.stage = stage
        self.seconds = 0.0
        self.output = pd.DataFrame()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        start = time.perf_counter()
        result = self.stage.transform(inp)
        if len(inp):
            self.seconds, self.output = time.perf_counter() - start, result
        return result


class _Search:
    """A system with what it searches, ready to be run."""

    def __init__(self, system: System, indexes: Indexes) -> None:
        self.system = system
        self.indexes = indexes
        self.encode, self.retrieve = (_Timed(stage) for stage in system.stages(indexes))

    def costs(self, queries: list[str]) -> dict[str, float | None]:
        """What the last run cost, beside ``mrt``."""
        return {
            "qd_flops": self.system.qd_flops(self.indexes, queries),
            "index_mb": self.system.index_mb(self.indexes),
            "encode_ms_per_query": self.encode.seconds * 1000 / len(queries),
            "retrieve_ms_per_query": self.retrieve.seconds * 1000 / len(queries),
            "build_seconds": self.system.build_seconds(self.indexes),
        }


def _judged(collection: Collection) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The topics that have judgements, and their judgements.

    Without the others ``mrt`` is a mean over the queries that were run: PyTerrier divides by the number of judged ones.
    """
    topics, qrels = collection.topics(), collection.qrels()
    topics = topics[topics["qid"].isin(set(qrels["qid"]))].reset_index(drop=True)
    if topics.empty:
        raise ValueError(f"the collection {collection.name} has no query with judgements")
    for qid in topics["qid"]:
        check_identifier(f"topics of {collection.name}", "qid", qid)
    return topics, qrels


def _run(searches: list[_Search], topics: pd.DataFrame, qrels: pd.DataFrame, measures: list[Any]) -> pd.DataFrame:
    pipelines: dict[str, pt.Transformer | pd.DataFrame] = {}
    for search in searches:
        pipeline = search.encode >> search.retrieve
        pipeline.transform(topics.head(1))  # so that loading a model or starting Java is in nobody's time
        pipelines[search.system.name] = pipeline
    _log.info("running %s queries", f"{len(topics):,}")
    table: pd.DataFrame = pt.Experiment(pipelines, topics, qrels, [*measures, "mrt"], validate="error")
    costs = pd.DataFrame([search.costs(topics["query"].tolist()) for search in searches]).astype(float)
    names = [str(measure) for measure in measures]
    table = pd.concat([table[["name", *names, "mrt"]], costs], axis="columns")
    return table[["name", *names, "qd_flops", "index_mb", "mrt", *costs.columns[2:]]]


def _move_in(staging: Path, out: Path) -> None:
    """Moves results into place, ``results.json`` last: where it is, all of them are."""
    (out / "results.json").unlink(missing_ok=True)
    (out / "runs").mkdir(exist_ok=True)
    runs = [f"runs/{run.name}" for run in (staging / "runs").iterdir()]
    for name in (*runs, "results.csv", "results.png", "results.json"):
        (staging / name).replace(out / name)
