"""A model beside its baselines on one collection, in one experiment."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.collections import Collection, check_identifier, open_collection
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation.results import Comparison
from pyterrier_saesplade.evaluation.runs import write_run
from pyterrier_saesplade.evaluation.systems import ArtifactCache, ConceptSystem, Corpus, System, make_systems
from pyterrier_saesplade.figures import require_plots
from pyterrier_saesplade.files import installed_versions, require_new, scratch_beside
from pyterrier_saesplade.metrics import DEFAULT_MEASURES, parse_measures
from pyterrier_saesplade.saesplade import SaeSplade

_log = logging.getLogger(__name__)

#: What there is of results in a folder: see :func:`evaluate`.
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
    """Compares a model with baselines on a collection, with one ``pt.Experiment``.

    Indexes that are missing are built; those that are there are used again when they were made from the same documents
    by the same system. Only queries with judgements are run. The results are ``results.json``, ``results.csv`` and
    ``results.png`` (see :class:`~pyterrier_saesplade.evaluation.results.Comparison`); ``perquery.csv``, with a line
    ``name,qid,measure,value`` for each system, query and measure; ``about.json``, where the figures come from; and a
    TREC run of depth 1,000 per system in ``runs/``. They are written beside and moved into place when complete.

    Args:
        collection: A collection, or what :func:`~pyterrier_saesplade.collections.open_collection` takes.
        model: A model, or its folder or hub name.
        out: The folder of indexes and results.
        baselines: ``bm25`` (Terrier's, k1 0.9, b 0.4), ``dense`` (``pyterrier_dr`` with the model's backbone),
            ``splade=FOLDER``, ``words+concepts`` and others: see
            :func:`~pyterrier_saesplade.evaluation.systems.make_system`.
        measures: Names of ir_measures.
        query_set: A further query set over the same documents, in place of the collection's own.
        ignore_identical_ids: Whether the document whose docno is the query's qid is dropped, for collections whose
            queries are among the documents. It is dropped before feedback and fusion (except in Anserini's RM3); runs
            keep their depth.
        language: That of documents and queries, two letters, in place of what the collection says: which words BM25 and
            ``words+concepts`` stem, and how.
        indexes: The folder of indexes; ``out/indexes`` unless given.
        command: The command line to name in ``about.json``.
        overwrite: Replace results that are there; of ``runs/`` only the files of the systems that are compared.

    Returns:
        The table, the model's line last; ``str()`` shows it with a note for each system.

    Raises:
        ValueError: If a baseline or measure is unknown, a qid or docno cannot stand in a run file, or no query
            is judged.
        FileExistsError: If there are results in ``out`` and ``overwrite`` is false.
        ImportError: If matplotlib, or what a baseline needs, is not installed.

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
    """Returns what figures on a collection depend on, as ``about.json`` has it."""
    return {
        "systems": {system.name: system.settings for system in systems},
        "measures": list(measures),
        "query_set": query_set,
        "ignore_identical_ids": ignore_identical_ids,
    }


def provenance(command: str | None) -> dict[str, Any]:
    """Returns by what results were made, and when: ``command``, ``versions``, ``date``."""
    versions = {"python": platform.python_version(), **installed_versions(_PACKAGES)}
    if pt.java.started():
        versions["terrier"] = str(pt.terrier.version())
    return {"command": command, "versions": versions, "date": datetime.now(UTC).isoformat(timespec="seconds")}


def write_json(value: Any, path: Path) -> None:
    """Writes a file that people read too."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


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

    def __init__(self, system: System, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False) -> None:
        self.system = system
        self.artifacts = artifacts
        encode, retrieve = system.stages(artifacts, ignore_identical_ids=ignore_identical_ids)
        self.encode = _Timed(encode)
        self.retrieve = _Timed(retrieve)

    def costs(self, queries: list[str]) -> dict[str, float | None]:
        """What the last run cost, beside ``mrt``."""
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
    """The topics that have judgements, and their judgements.

    Without the others ``mrt`` is a mean over the queries that were run: PyTerrier divides by the number of judged ones.
    """
    topics, qrels = collection.topics(query_set), collection.qrels(query_set)
    topics = topics[topics["qid"].isin(set(qrels["qid"]))].reset_index(drop=True)
    if topics.empty:
        raise SettingError(f"the collection {collection.name} has no query with judgements")
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


def _perquery(searches: list[_Search], topics: pd.DataFrame, qrels: pd.DataFrame, measures: list[Any]) -> pd.DataFrame:
    """The value of each query, of the runs that are there: ``perquery="both"`` would leave ``mrt`` out."""
    runs: dict[str, pt.Transformer | pd.DataFrame] = {search.system.name: search.retrieve.output for search in searches}
    values = pt.Experiment(runs, topics, qrels, measures, perquery=True)
    order = [list(runs), topics["qid"].tolist(), [str(measure) for measure in measures]]
    keys = ["name", "qid", "measure"]
    return values.set_index(keys)["value"].reindex(pd.MultiIndex.from_product(order, names=keys)).reset_index()


def _move_in(staging: Path, out: Path) -> None:
    """Moves results into place, ``results.json`` last: where it is, all of them are."""
    (out / "results.json").unlink(missing_ok=True)
    (out / "runs").mkdir(exist_ok=True)
    runs = [f"runs/{run.name}" for run in (staging / "runs").iterdir()]
    for name in (*runs, *(name for name in reversed(RESULTS) if name != "runs")):
        (staging / name).replace(out / name)
