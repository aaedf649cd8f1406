"""Training data in one form, whatever file it comes from: rows of queries and of passages, on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from more_itertools import chunked
from numpy.typing import NDArray

from pyterrier_saesplade.collections import OnError, Problems, TextTable
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import atomic_write
from pyterrier_saesplade.training.extra import ArrowWriter, Dataset, Features, ListOf, Value

#: Examples whose identifiers are looked up together.
_WINDOW = 4096

_FEATURES = Features(
    {
        "query": Value("int64"),
        "passages": ListOf(Value("int64")),
        "scores": ListOf(Value("float32")),
        "positives": Value("int32"),
    }
)


class Candidates(NamedTuple):
    """A query's passages as a file gives them, by identifiers.

    Attributes:
        where: The file and the line.
        qid: The query.
        pids: The passages, the positives first.
        scores: A teacher's score of each; empty: there are none.
        positives: How many of the passages are positives.
    """

    where: str
    qid: str
    pids: Sequence[str]
    scores: Sequence[float]
    positives: int


class Example(NamedTuple):
    """A query's passages, by rows.

    Attributes:
        query: The row of the query.
        passages: The rows of its passages, the positives first.
        scores: A teacher's score of each, or none.
        positives: How many of the passages are positives.
    """

    query: int
    passages: NDArray[np.int64]
    scores: NDArray[np.float32]
    positives: int


@dataclass(frozen=True)
class TrainingData:
    """Queries, passages, and which passages each query is trained on; all on disk.

    Make it with :func:`~pyterrier_saesplade.training.data.sources.read_distillation` or one of its neighbours.

    Attributes:
        queries: The queries.
        passages: The passages.
        folder: Where the examples are.

    Examples:
        >>> data = read_labels("my-collection")
        >>> len(data), data.scored, data.has_negatives
        (4, False, False)
        >>> data.queries.texts([data[0].query])
        ['river bank']
    """

    queries: TextTable
    passages: TextTable
    folder: Path

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self._examples)

    def __getitem__(self, number: int) -> Example:
        """Returns an example."""
        row = self._examples[int(number)]
        passages, scores = np.asarray(row["passages"], np.int64), np.asarray(row["scores"], np.float32)
        return Example(row["query"], passages, scores, row["positives"])

    @property
    def scored(self) -> bool:
        """Whether a teacher has scored the passages."""
        return bool(self.description["scored"])

    @property
    def has_negatives(self) -> bool:
        """Whether the examples have passages beside the positives."""
        return bool(self.description["negatives"])

    @property
    def problems(self) -> list[str]:
        """What was left out when the files were read, a line for each kind of problem."""
        return [*self.queries.problems, *self.passages.problems, *self.description["problems"]]

    @property
    def on_error(self) -> OnError:
        """What an example that cannot be used does, when the data was read and when it is trained on."""
        on_error: OnError = self.description["on_error"]
        return on_error

    @property
    def source(self) -> dict[str, Any]:
        """What the data was made of."""
        return dict(self.description["source"])

    @cached_property
    def description(self) -> dict[str, Any]:
        """What :func:`write_examples` noted, and what tells the data from others."""
        description: dict[str, Any] = json.loads((self.folder / "description.json").read_text())
        return description | {"digest": self.folder.name}

    def numbers(self, nway: int) -> NDArray[np.int64]:
        """Returns the examples that have at least a positive and ``nway - 1`` other passages."""
        passages = self._examples.data.column("passages")
        lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in passages.chunks] or [np.empty(0)])
        positives = self._examples.data.column("positives").to_numpy()
        return np.flatnonzero(lengths - positives >= nway - 1)

    def query_rows(self) -> NDArray[np.int64]:
        """Returns the row of each example's query; examples of triples have many in common."""
        rows: NDArray[np.int64] = self._examples.data.column("query").to_numpy()
        return rows

    @cached_property
    def _examples(self) -> Dataset:
        return Dataset.from_file(str(self.folder / "examples.arrow"))


def look_up(
    candidates: Iterable[Candidates], queries: TextTable, passages: TextTable, problems: Problems
) -> Iterator[Example]:
    """Yields examples by rows, without those whose query or positive is unknown, and without unknown passages.

    Args:
        candidates: The examples by identifiers.
        queries: Their queries.
        passages: Their passages.
        problems: Takes note of what is left out.
    """
    for window in chunked(candidates, _WINDOW):
        query_rows = queries.rows([one.qid for one in window]).tolist()
        rows = passages.rows([pid for one in window for pid in one.pids])
        ends = np.cumsum([len(one.pids) for one in window])
        for one, query, own in zip(window, query_rows, np.split(rows, ends[:-1]), strict=True):
            example = _example(one, query, own, problems)
            if example is not None:
                yield example


def write_examples(folder: Path, examples: Iterable[Example], problems: Problems, source: Mapping[str, Any]) -> None:
    """Writes examples to a folder, which exists; its description comes last.

    Args:
        folder: The folder.
        examples: The examples.
        problems: What was left out on the way to them.
        source: What they are made of.

    Raises:
        ValueError: If there is none, or some have scores and others have none.
    """
    scored: set[bool] = set()
    negatives = False
    with ArrowWriter(path=str(folder / "examples.arrow"), features=_FEATURES) as writer:
        for window in chunked(examples, _WINDOW):
            scored |= {bool(len(example.scores)) for example in window}
            negatives |= any(len(example.passages) > example.positives for example in window)
            writer.write_batch({name: [getattr(example, name) for example in window] for name in _FEATURES})
        writer.finalize()
    if not scored:
        reasons = "; ".join(problems.report()) or "there are none"
        raise DataError(f"no example of {dict(source)} can be used: {reasons}")
    if len(scored) > 1:
        raise DataError(f"some examples of {dict(source)} have scores and others have none")
    description: dict[str, Any] = {"scored": scored == {True}, "negatives": negatives}
    description |= {"problems": problems.report(), "on_error": problems.on_error, "source": dict(source)}
    with atomic_write(folder / "description.json") as partial:
        partial.write_text(json.dumps(description))


def _example(candidates: Candidates, query: int, rows: NDArray[np.int64], problems: Problems) -> Example | None:
    where, qid, pids, scores, positives = candidates
    if query < 0:
        problems.note(where, "unknown query", qid)
        return None
    known = rows >= 0
    for place in np.flatnonzero(~known).tolist():
        problems.note(where, "unknown passage", pids[place])
    positives_left = int(known[:positives].sum())
    if not positives_left:
        problems.note(where, "query without a positive", qid)
        return None
    kept = np.asarray(scores, np.float32)[known] if len(scores) else np.empty(0, np.float32)
    return Example(query, rows[known], kept, positives_left)
