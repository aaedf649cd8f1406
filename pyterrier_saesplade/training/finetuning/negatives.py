"""Negatives of labelled queries: what a model ranks high and is not relevant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from more_itertools import chunked

from pyterrier_saesplade.collections import Problems, TextTable
from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.impacts import LatentStatistics
from pyterrier_saesplade.training.data import Example, TrainingData, write_examples
from pyterrier_saesplade.types import Side
from pyterrier_saesplade.vectors import ConceptVectors, top_documents

#: Negatives are drawn from so many passages at the top of a query's ranking.
DEPTH = 40
_WINDOW = 4096


def with_negatives(data: TrainingData, encoder: Encoder, folder: Path, *, depth: int = DEPTH) -> TrainingData:
    """Searches all passages with a model, and takes what it ranks high and is no positive as negatives.

    The vectors of all passages are in memory meanwhile, some kilobytes each: for millions of passages write a file of
    candidates with ``saesplade mine`` instead.

    Args:
        data: Queries with positives alone.
        encoder: The model; one whose queries want idf gets that of the passages.
        folder: Where to write the examples; what is there already is used.
        depth: Negatives of a query, at most.
    """
    if not (folder / "description.json").exists():
        folder.mkdir(exist_ok=True)
        source = data.source | {"negatives": f"the first {depth} passages that the model finds"}
        write_examples(folder, _mined(data, encoder, depth), Problems(data.on_error), source)
    return TrainingData(data.queries, data.passages, folder)


def encode_rows(encoder: Encoder, table: TextTable, rows: Sequence[int], side: Side) -> ConceptVectors:
    """Returns the vectors of some texts of a table, which are read some at a time."""
    parts = [encoder.encode(table.texts(window), side=side) for window in chunked(rows, _WINDOW)]
    return ConceptVectors.concatenate(parts)


def _mined(data: TrainingData, encoder: Encoder, depth: int) -> Iterator[Example]:
    examples = [data[number] for number in range(len(data))]
    passages = encode_rows(encoder, data.passages, range(len(data.passages)), "doc")
    queries = encode_rows(encoder, data.queries, [example.query for example in examples], "query")
    if encoder.config.weighting == "idf":
        statistics = LatentStatistics.empty(encoder.config.width)
        statistics.update(passages)
        queries = statistics.weigh(queries)
    most = max(example.positives for example in examples)
    ranked = top_documents(queries, passages, encoder.config.width, depth + most)
    for example, (found, _) in zip(examples, ranked, strict=True):
        negatives = found[~np.isin(found, example.passages)][:depth]
        yield example._replace(passages=np.concatenate([example.passages, negatives]))
