"""From a file of topics to a run file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyterrier_saesplade.collections import check_identifier, read_topics
from pyterrier_saesplade.engines.build import open_index
from pyterrier_saesplade.evaluation.runs import write_run
from pyterrier_saesplade.files import require_new
from pyterrier_saesplade.formats import jsonl
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store.queries import read_queries


def search(
    index: str | os.PathLike[str],
    model: SaeSplade | str | os.PathLike[str] | None,
    topics: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    num_results: int = 1000,
    engine_options: Mapping[str, Any] | None = None,
    tag: str = "saesplade",
    overwrite: bool = False,
) -> Path:
    """Searches an index for all topics of a file and writes a TREC run.

    Args:
        index: The folder of an index of concept vectors, of any engine.
        model: The model that encoded its documents, or its folder or hub name; ``None`` if the topics are encoded.
        topics: A file of ``qid<TAB>query`` lines; or one of encoded queries, ending in ``.parquet``
            or ``.jsonl[.gz]`` (``qid`` and ``vector``).
        out: The run file; compressed if it ends in ``.gz``.
        num_results: Documents per query at most.
        engine_options: How the engine searches, where it has such options: see its class.
        tag: The name of the run, its last column.
        overwrite: Replace an existing run file.

    Returns:
        The path of the run file.

    Raises:
        FileNotFoundError: If there is no such index or topics file.
        FileExistsError: If the run file exists and ``overwrite`` is false.
        ValueError: If a line of the topics is malformed, an identifier holds a blank, there is no model and one is
            needed, or another model or an unknown engine built the index.
    """
    out = Path(out)
    require_new(out, overwrite=overwrite)
    check_identifier("run", "tag", tag)
    topics = Path(topics)
    encoded = _read_encoded(topics)
    if encoded is None and model is None:
        raise ValueError(f"a model is needed to encode the queries of {topics}")
    queries = read_topics(topics) if encoded is None else encoded
    concepts = open_index(index, **(engine_options or {}))
    if model is None or encoded is not None:
        run = concepts.retriever(num_results).transform(queries)
    else:
        model = model if isinstance(model, SaeSplade) else SaeSplade.from_pretrained(model)
        run = model.retriever(concepts, num_results).transform(queries)
    return write_run(run, out, tag=tag, overwrite=overwrite)


def _read_encoded(topics: Path) -> pd.DataFrame | None:
    if topics.suffix == ".parquet":
        return read_queries(topics)
    if topics.name.endswith((".jsonl", ".jsonl.gz")):
        return jsonl.read_queries(topics)
    return None
