"""The costs of search: multiplications counted from document frequencies, and measured latency."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.engines import ConceptIndex, open_index
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.metrics import delta_e

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    import pyterrier as pt
    from numpy.typing import NDArray

    from pyterrier_saesplade.factory import ModelFactory

#: The effectiveness measure that ΔE is based on.
_RR = "RR@10"


def query_costs(
    model: ModelFactory, index: ConceptIndex | str | os.PathLike[str], topics: pd.DataFrame
) -> pd.DataFrame:
    """Counts the cost of each query from the document frequencies of an index, without reading postings.

    Args:
        model: The model that encodes the queries, which may also be a model of words and concepts.
        index: The index of the model, or its folder.
        topics: The queries, ``qid`` and ``query``.

    Returns:
        A row for each query: ``qid``; ``latents``, the number of latents in the query; ``postings``, the number of
        postings that a search without pruning touches (the sum of the latents' document frequencies); and
        ``qd_flops``, the postings per document. The mean of ``qd_flops`` over the queries is
        :func:`~pyterrier_saesplade.metrics.qd_flops` of the collection.

    Examples:
        >>> costs = query_costs(model, "my-index", topics)
        >>> costs.columns.tolist()
        ['qid', 'latents', 'postings', 'qd_flops']
    """
    index = index if isinstance(index, ConceptIndex) else open_index(index)
    statistics = index.statistics
    queries = model.encode(topics["query"].tolist(), side="query")
    of_entry = queries.rows
    postings = np.bincount(of_entry, statistics.df[queries.latents], minlength=len(queries)).astype(np.int64)
    return pd.DataFrame(
        {
            "qid": topics["qid"].to_numpy(),
            "latents": np.diff(queries.indptr),
            "postings": postings,
            "qd_flops": postings / statistics.n_docs,
        }
    )


def add_efficiency(
    results: pd.DataFrame,
    systems: Mapping[str, tuple[ModelFactory, ConceptIndex | str | os.PathLike[str]]],
    topics: pd.DataFrame,
) -> pd.DataFrame:
    """Adds the cost of scoring to the results of ``pt.Experiment``.

    Args:
        results: The means per system, with a column ``name``.
        systems: The model and the index of each concept system, by its name in the results.
        topics: The queries that were run, ``qid`` and ``query``.

    Returns:
        ``results`` with the means of ``qd_flops`` and ``postings`` over the queries, and with ``delta_e`` if there is
        an ``RR@10``. The values of other systems are missing.

    Raises:
        SettingError: If a system is not in the results.

    Examples:
        >>> from pyterrier.measures import RR
        >>> systems = {"bm25": bm25, "concepts": model.retriever(index)}
        >>> results = pt.Experiment(systems, topics, qrels, [RR @ 10])
        >>> add_efficiency(results, {"concepts": (model, index)}, topics).columns.tolist()
        ['name', 'RR@10', 'qd_flops', 'postings', 'delta_e']
    """
    unknown = set(systems) - set(results["name"])
    if unknown:
        raise SettingError(f"the results have no system {min(unknown)!r}; they have: {', '.join(results['name'])}")
    costs = {
        name: query_costs(model, index, topics)[["qd_flops", "postings"]].mean()
        for name, (model, index) in systems.items()
    }
    missing = {"qd_flops": math.nan, "postings": math.nan}
    columns = pd.DataFrame([costs.get(name, missing) for name in results["name"]], index=results.index)
    out = results.assign(**{column: columns[column] for column in missing})
    if _RR in out:
        out["delta_e"] = [
            delta_e(rr, flops) if flops == flops else math.nan
            for rr, flops in zip(out[_RR], out["qd_flops"], strict=True)
        ]
    return out


def latency(
    pipelines: Mapping[str, pt.Transformer | tuple[pt.Transformer, pt.Transformer]],
    topics: pd.DataFrame,
    *,
    batch_sizes: tuple[int, ...] = (1, 64),
    rounds: int = 3,
    warm_up: int = 10,
) -> pd.DataFrame:
    """Measures the latency of queries, one at a time and in batches, on an otherwise idle machine.

    Pipelines take turns, round by round, so that noise affects all of them alike. Before that, each pipeline runs the
    first queries as a warm-up, which loads models and starts Java.

    Args:
        pipelines: The pipelines by name: either a retriever, or a query encoder and a retriever, which are then timed
            separately.
        topics: The queries, ``qid`` and ``query``.
        batch_sizes: Numbers of queries that are run together.
        rounds: Number of times that all queries are run.
        warm_up: Number of queries in the warm-up, which is not timed.

    Returns:
        A row for each ``name``, ``part`` (``"encode"``, ``"retrieve"``, ``"total"``) and ``batch_size``, with the
        milliseconds per query: ``mean``, ``p50``, ``p95`` and ``p99`` over the batches of all rounds.

    Raises:
        SettingError: If a number is not positive, or there are no topics.

    Examples:
        >>> pipelines = {"concepts": (model.query_encoder(), index.retriever())}
        >>> latency(pipelines, topics, batch_sizes=(4,), rounds=1)["part"].tolist()
        ['encode', 'retrieve', 'total']
    """
    require_positive(rounds=rounds, warm_up=warm_up)
    for size in batch_sizes:
        require_positive(batch_sizes=size)
    if topics.empty:
        raise SettingError("there are no topics to time")
    stages = {name: given if isinstance(given, tuple) else (given,) for name, given in pipelines.items()}
    for parts in stages.values():
        _run(parts, topics.head(warm_up))
    rows: list[dict[str, object]] = []
    for size in batch_sizes:
        times: dict[str, list[list[float]]] = {name: [] for name in stages}
        for _ in range(rounds):
            for name, parts in stages.items():
                times[name] += [_run(parts, batch) for batch in _batches(topics, size)]
        for name, measured in times.items():
            rows += _summaries(name, size, np.array(measured))
    return pd.DataFrame(rows)


def _batches(topics: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(topics), size):
        yield topics.iloc[start : start + size].reset_index(drop=True)


def _run(parts: tuple[pt.Transformer, ...], batch: pd.DataFrame) -> list[float]:
    """Returns the milliseconds per query of each part."""
    spent, frame = [], batch
    for part in parts:
        start = time.perf_counter()
        frame = part.transform(frame)
        spent.append((time.perf_counter() - start) * 1000 / len(batch))
    return spent


def _summaries(name: str, size: int, times: NDArray[np.float64]) -> Iterator[dict[str, object]]:
    parts = {"total": times.sum(axis=1)}
    if times.shape[1] == 2:
        parts = {"encode": times[:, 0], "retrieve": times[:, 1]} | parts
    for part, values in parts.items():
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        yield {
            "name": name,
            "part": part,
            "batch_size": size,
            "mean": values.mean(),
            "p50": p50,
            "p95": p95,
            "p99": p99,
        }
