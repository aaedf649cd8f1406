"""Negatives of labelled queries: passages that a model ranks high and that are not relevant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from more_itertools import chunked

from pyterrier_saesplade.collections import Problems, TextTable
from pyterrier_saesplade.impacts import LatentStatistics
from pyterrier_saesplade.training.data import Example, TrainingData, write_examples
from pyterrier_saesplade.vectors import ConceptVectors, top_documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyterrier_saesplade.encoding import Encoder
    from pyterrier_saesplade.types import Side

#: Maximum number of negatives per query, from the top of its ranking.
DEPTH = 40
#: Number of texts that are read and encoded at a time.
_WINDOW = 4096


def with_negatives(data: TrainingData, encoder: Encoder, folder: Path, *, depth: int = DEPTH) -> TrainingData:
    """Searches all passages with a model, and adds highly ranked passages that are not positives as negatives.

    The vectors of all passages are held in memory, some kilobytes each. For millions of passages, write a file of
    candidates with ``saesplade mine`` instead.

    Args:
        data: Queries with positives only.
        encoder: The model. If it weights queries by idf, the idf of the passages is used.
        folder: The folder to write the examples to. If an earlier run completed it, it is used as it is.
        depth: Maximum number of negatives per query.
    """
    if not (folder / "description.json").exists():
        folder.mkdir(exist_ok=True)
        source = data.source | {"negatives": f"the first {depth} passages that the model finds"}
        write_examples(folder, _mined(data, encoder, depth), Problems(data.on_error), source)
    return TrainingData(data.queries, data.passages, folder)


def encode_rows(encoder: Encoder, table: TextTable, rows: Sequence[int], side: Side) -> ConceptVectors:
    """Returns the vectors of some rows of a table; the texts are read and encoded in windows."""
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
    most_positives = max(example.positives for example in examples)
    ranked = top_documents(queries, passages, encoder.config.width, depth + most_positives)
    for example, (found, _) in zip(examples, ranked, strict=True):
        negatives = found[~np.isin(found, example.passages)][:depth]
        yield example._replace(passages=np.concatenate([example.passages, negatives]))
