"""From a file of topics to a run file."""

from __future__ import annotations

import os
from pathlib import Path

from pyterrier_saesplade.engines.build import ENGINES
from pyterrier_saesplade.engines.index import read_metadata
from pyterrier_saesplade.evaluation.collections import check_identifier, read_topics
from pyterrier_saesplade.evaluation.runs import check_new, write_run
from pyterrier_saesplade.saesplade import SaeSplade


def search(
    index: str | os.PathLike[str],
    model: SaeSplade | str | os.PathLike[str],
    topics: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    num_results: int = 1000,
    tag: str = "saesplade",
    overwrite: bool = False,
) -> Path:
    """Searches an index for all topics of a file and writes a TREC run.

    Args:
        index: The folder of an index of concept vectors, of any engine.
        model: The model that encoded its documents, or its folder or hub name.
        topics: A file of ``qid<TAB>query`` lines.
        out: The run file; compressed if it ends in ``.gz``.
        num_results: Documents per query at most.
        tag: The name of the run, its last column.
        overwrite: Replace an existing run file.

    Returns:
        The path of the run file.

    Raises:
        FileNotFoundError: If there is no such index or topics file.
        FileExistsError: If the run file exists and ``overwrite`` is false.
        ValueError: If a line of the topics is malformed, an identifier holds a blank, or another model or an
            unknown engine built the index.
    """
    out = Path(out)
    check_new(out, overwrite)
    check_identifier("run", "tag", tag)
    queries = read_topics(topics)
    engine = read_metadata(Path(index)).get("format")
    if engine not in ENGINES:
        raise ValueError(f"{index} was built with engine {engine!r}; known are: {', '.join(map(repr, ENGINES))}")
    concepts = ENGINES[engine](index)
    model = model if isinstance(model, SaeSplade) else SaeSplade.from_pretrained(model)
    run = model.retriever(concepts, num_results=num_results).transform(queries)
    return write_run(run, out, tag=tag, overwrite=overwrite)
