"""Comparison of a model with baselines on one collection, in one ``pt.Experiment``."""

from __future__ import annotations

import json
import logging
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.collections import Collection, check_identifier, open_collection
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.evaluation.results import Comparison
from pyterrier_saesplade.evaluation.runs import write_run
from pyterrier_saesplade.evaluation.systems import ArtifactCache, ConceptSystem, Corpus, System, make_systems
from pyterrier_saesplade.figures import require_plots
from pyterrier_saesplade.files import installed_versions, require_new, scratch_beside
from pyterrier_saesplade.metrics import DEFAULT_MEASURES, parse_measures
from pyterrier_saesplade.saesplade import SaeSplade

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

_log = logging.getLogger(__name__)

#: The files of results in a folder; see :func:`evaluate`.
RESULTS = ("results.json", "results.csv", "results.png", "perquery.csv", "about.json", "runs")

_PACKAGES = ("pyterrier_saesplade", "python-terrier", "ir_measures", "torch", "transformers")


def evaluate(
    collection: Collection | str | os.PathLike[str],
    model: SaeSplade | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    baselines: Iterable[str | System] = ("bm25", "dense"),
    measures: Iterable[str] = DEFAULT_MEASURES,
    query_set: str | None = None,
    ignore_identical_ids: bool = False,
    language: str | None = None,
    indexes: str | os.PathLike[str] | None = None,
    command: str | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Compares a model with baselines on a collection, in one ``pt.Experiment``.

    Missing indexes are built. An existing index is reused if the same system made it from the same documents. Only
    queries with qrels are run. The folder ``out`` then has these results, which are written to a temporary folder and
    moved when all of them are complete:

    * ``results.json``, ``results.csv`` and ``results.png``: the table and its figure, see
      :class:`~pyterrier_saesplade.evaluation.results.Comparison`
    * ``perquery.csv``: a line ``name,qid,measure,value`` for each system, query and measure
    * ``about.json``: the origin of the results, such as settings and versions
    * ``runs/``: a TREC run of depth 1,000 for each system

    Args:
        collection: A collection, or a name that :func:`~pyterrier_saesplade.collections.open_collection` accepts.
        model: A model, or its folder or hub name.
        out: The folder of indexes and results.
        baselines: The systems to compare with: ``bm25`` (Terrier's, with k1 = 0.9 and b = 0.4), ``dense``
            (``pyterrier_dr`` with the model's backbone), ``splade=FOLDER``, ``words+concepts`` and others, see
            :func:`~pyterrier_saesplade.evaluation.systems.make_system`.
        measures: Names of measures as in ir_measures.
        query_set: Another query set over the same documents, instead of the collection's own.
        ignore_identical_ids: Whether to drop the document whose docno is the query's qid, for collections whose queries
            are also documents. It is dropped before feedback and fusion (except in Anserini's RM3). Runs keep their
            depth.
        language: The language of documents and queries, as two letters, instead of the collection's. It determines how
            systems that match words, such as ``bm25`` and ``words+concepts``, stem them.
        indexes: The folder of indexes; ``out/indexes`` by default.
        command: The command line to record in ``about.json``.
        overwrite: Replace existing results. In ``runs/``, only the files of the compared systems are replaced.

    Returns:
        The table, with the model in the last row; ``str()`` shows it with a note on each system.

    Raises:
        SettingError: If a baseline or a measure is unknown.
        DataError: If no query has qrels, or a qid or docno cannot be written to a run file.
        PathExistsError: If ``out`` has results and ``overwrite`` is false.
        MissingPackageError: If matplotlib or a package that a baseline needs is not installed.

    Examples:
        >>> comparison = evaluate("my-collection", "my-model", "comparison", baselines=["bm25"], measures=["nDCG@10"])
        >>> comparison.table["name"].tolist()
        ['bm25', 'saesplade']
        >>> print(comparison.title)
        my-collection: 12 documents, 4 judged queries
    """
    out = Path(out)
    for name in RESULTS:
        require_new(out / name, overwrite=overwrite)
    require_plots()
    parsed = parse_measures(measures)
    collection = collection if isinstance(collection, Collection) else open_collection(collection)
    model = model if isinstance(model, SaeSplade) else SaeSplade.from_pretrained(model)
    baselines = baselines if isinstance(baselines, str) else list(baselines)
    systems = make_systems(baselines, model, language or collection.language)
    compared = systems[-1]
    assert isinstance(compared, ConceptSystem)
    topics, qrels = _judged(collection, query_set)
    artifacts = ArtifactCache(Corpus.read(collection), out / "indexes" if indexes is None else Path(indexes))

    searches = [_Search(system, artifacts, ignore_identical_ids=ignore_identical_ids) for system in systems]
    table = _run(searches, topics, qrels, parsed)
    called = f"{collection.name}/{query_set}" if query_set else collection.name
    title = f"{called}: {artifacts.corpus.n_docs:,} documents, {len(topics):,} judged queries"
    names = [str(measure) for measure in parsed]
    comparison = Comparison(title, table, names, [system.note for system in systems], artifacts.path(compared))
    about = {
        "title": title,
        "collection": called,
        "source": collection.source,
        "n_docs": artifacts.corpus.n_docs,
        "n_queries": len(topics),
        "measures": names,
        "notes": comparison.notes,
        "settings": settings_of(systems, names, query_set=query_set, ignore_identical_ids=ignore_identical_ids),
        **provenance(command),
    }
    with scratch_beside(out / "results") as staging:
        (staging / "runs").mkdir(parents=True)
        for search in searches:
            name = search.system.name
            write_run(search.retrieve.output, staging / "runs" / f"{name}.trec.gz", tag=name)
        comparison.write(staging)
        _perquery(searches, topics, qrels, parsed).to_csv(staging / "perquery.csv", index=False)
        write_json(about, staging / "about.json")
        _move_in(staging, out)
    return comparison


def settings_of(
    systems: Sequence[System],
    measures: Sequence[str],
    *,
    query_set: str | None = None,
    ignore_identical_ids: bool = False,
) -> dict[str, Any]:
    """Returns the settings that results depend on, as they are recorded in ``about.json``."""
    return {
        "systems": {system.name: system.settings for system in systems},
        "measures": list(measures),
        "query_set": query_set,
        "ignore_identical_ids": ignore_identical_ids,
    }


def provenance(command: str | None) -> dict[str, Any]:
    """Returns how and when results were made: ``command``, ``versions`` and ``date``."""
    versions = {"python": platform.python_version(), **installed_versions(_PACKAGES)}
    if pt.java.started():
        versions["terrier"] = str(pt.terrier.version())
    return {"command": command, "versions": versions, "date": datetime.now(UTC).isoformat(timespec="seconds")}


def write_json(value: Any, path: Path) -> None:
    """Writes a JSON file that is easy to read for people."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


class _Timed(pt.Transformer):
    """A transformer that keeps its last duration and output. It ignores the empty frames of PyTerrier's inspection."""

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
    """A system that is ready to run, with the artifacts that it searches."""

    def __init__(self, system: System, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False) -> None:
        self.system = system
        self.artifacts = artifacts
        encode, retrieve = system.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
        self.encode = _Timed(encode)
        self.retrieve = _Timed(retrieve)

    def costs(self, queries: list[str]) -> dict[str, float | None]:
        """Returns the costs of the last run, except ``mrt``."""
        stages = (self.encode, self.retrieve) if self.system.encodes_apart else ()
        encode, retrieve = [1000 * stage.seconds / len(queries) for stage in stages] or (None, None)
        return {
            "qd_flops": self.system.qd_flops(self.artifacts, queries),
            "index_mb": self.system.index_mb(self.artifacts),
            "encode_ms_per_query": encode,
            "retrieve_ms_per_query": retrieve,
            "build_seconds": self.system.build_seconds(self.artifacts),
        }


def _judged(collection: Collection, query_set: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the topics that have qrels, and the qrels.

    PyTerrier divides the total time by the number of judged queries. Without unjudged queries, ``mrt`` is the mean over
    all queries that were run.
    """
    topics, qrels = collection.topics(query_set), collection.qrels(query_set)
    topics = topics[topics["qid"].isin(set(qrels["qid"]))].reset_index(drop=True)
    if topics.empty:
        raise DataError(f"the collection {collection.name} has no query with qrels")
    for qid in topics["qid"]:
        check_identifier(f"topics of {collection.name}", "qid", qid)
    return topics, qrels


def _run(searches: list[_Search], topics: pd.DataFrame, qrels: pd.DataFrame, measures: list[Any]) -> pd.DataFrame:
    pipelines: dict[str, pt.Transformer | pd.DataFrame] = {}
    for search in searches:
        pipeline = search.encode >> search.retrieve
        pipeline.transform(topics.head(1))  # a warm-up, so that loading models and starting Java are not timed
        pipelines[search.system.name] = pipeline
    _log.info("running %s queries", f"{len(topics):,}")
    table: pd.DataFrame = pt.Experiment(pipelines, topics, qrels, [*measures, "mrt"], validate="error")
    costs = pd.DataFrame([search.costs(topics["query"].tolist()) for search in searches]).astype(float)
    names = [str(measure) for measure in measures]
    table = pd.concat([table[["name", *names, "mrt"]], costs], axis="columns")
    return table[["name", *names, "qd_flops", "index_mb", "mrt", *costs.columns[2:]]]


def _perquery(searches: list[_Search], topics: pd.DataFrame, qrels: pd.DataFrame, measures: list[Any]) -> pd.DataFrame:
    """Returns the values of each query for the finished runs. ``perquery="both"`` would have left out ``mrt``."""
    runs: dict[str, pt.Transformer | pd.DataFrame] = {search.system.name: search.retrieve.output for search in searches}
    values = pt.Experiment(runs, topics, qrels, measures, perquery=True)
    order = [list(runs), topics["qid"].tolist(), [str(measure) for measure in measures]]
    keys = ["name", "qid", "measure"]
    return values.set_index(keys)["value"].reindex(pd.MultiIndex.from_product(order, names=keys)).reset_index()


def _move_in(staging: Path, out: Path) -> None:
    """Moves results into place. ``results.json`` is last: if it exists, all results do."""
    (out / "results.json").unlink(missing_ok=True)
    (out / "runs").mkdir(exist_ok=True)
    runs = [f"runs/{run.name}" for run in (staging / "runs").iterdir()]
    for name in (*runs, *(name for name in reversed(RESULTS) if name != "runs")):
        (staging / name).replace(out / name)
