"""Training data on disk, in the same format for all sources."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from more_itertools import chunked

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import atomic_write
from pyterrier_saesplade.training.extra import ArrowWriter, Dataset, Features, ListOf, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyterrier_saesplade.collections import OnError, Problems, TextTable

#: Number of examples whose identifiers are looked up at a time.
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
    """A query and its passages by their identifiers, as read from a file.

    Attributes:
        where: The file and the line, for error messages.
        qid: The query's identifier.
        pids: The passages' identifiers, positives first.
        scores: A teacher's score of each passage; empty if there is no teacher.
        positives: Number of passages that are positives.
    """

    where: str
    qid: str
    pids: Sequence[str]
    scores: Sequence[float]
    positives: int


class Example(NamedTuple):
    """A query and its passages by their rows in the tables of texts.

    Attributes:
        query: The query's row.
        passages: The passages' rows, positives first.
        scores: A teacher's score of each passage; empty if there is no teacher.
        positives: Number of passages that are positives.
    """

    query: int
    passages: NDArray[np.int64]
    scores: NDArray[np.float32]
    positives: int


@dataclass(frozen=True)
class TrainingData:
    """Queries, passages, and the passages that each query is trained on; all on disk.

    The functions :func:`~pyterrier_saesplade.read_distillation`, :func:`~pyterrier_saesplade.read_triples`,
    :func:`~pyterrier_saesplade.read_labels` and :func:`~pyterrier_saesplade.read_dataset` return it.

    Attributes:
        queries: The queries' texts.
        passages: The passages' texts.
        folder: The folder of the examples.

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
        """Returns the example with a number."""
        row = self._examples[int(number)]
        passages, scores = np.asarray(row["passages"], np.int64), np.asarray(row["scores"], np.float32)
        return Example(row["query"], passages, scores, row["positives"])

    @property
    def scored(self) -> bool:
        """Whether a teacher has scored the passages."""
        return bool(self.description["scored"])

    @property
    def has_negatives(self) -> bool:
        """Whether any example has passages other than positives."""
        return bool(self.description["negatives"])

    @property
    def problems(self) -> list[str]:
        """What was left out when the files were read, one line per kind of problem."""
        return [*self.queries.problems, *self.passages.problems, *self.description["problems"]]

    @property
    def on_error(self) -> OnError:
        """What happens to examples that cannot be used, both in reading the data and in training on it."""
        on_error: OnError = self.description["on_error"]
        return on_error

    @property
    def source(self) -> dict[str, Any]:
        """Where the data comes from: files, collections and, if mined, the pipelines."""
        return dict(self.description["source"])

    @cached_property
    def description(self) -> dict[str, Any]:
        """What :func:`write_examples` recorded, and a digest that identifies the data."""
        description: dict[str, Any] = json.loads((self.folder / "description.json").read_text())
        return description | {"digest": self.folder.name}

    def numbers(self, nway: int) -> NDArray[np.int64]:
        """Returns the numbers of the examples with at least ``nway - 1`` passages that are not positives."""
        passages = self._examples.data.column("passages")
        lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in passages.chunks] or [np.empty(0)])
        positives = self._examples.data.column("positives").to_numpy()
        return np.flatnonzero(lengths - positives >= nway - 1)

    def query_rows(self) -> NDArray[np.int64]:
        """Returns the row of each example's query. Triples often share a query."""
        rows: NDArray[np.int64] = self._examples.data.column("query").to_numpy()
        return rows

    @cached_property
    def _examples(self) -> Dataset:
        return Dataset.from_file(str(self.folder / "examples.arrow"))


def look_up(
    candidates: Iterable[Candidates], queries: TextTable, passages: TextTable, problems: Problems
) -> Iterator[Example]:
    """Replaces identifiers by rows.

    Unknown passages are left out, and so are examples whose query is unknown or that have no known positive.

    Args:
        candidates: The examples by identifiers.
        queries: The queries' texts.
        passages: The passages' texts.
        problems: Counts what is left out.
    """
    for window in chunked(candidates, _WINDOW):
        query_rows = queries.rows([one.qid for one in window]).tolist()
        passage_rows = passages.rows([pid for one in window for pid in one.pids])
        ends = np.cumsum([len(one.pids) for one in window])
        for one, query, rows in zip(window, query_rows, np.split(passage_rows, ends[:-1]), strict=True):
            example = _example(one, query, rows, problems)
            if example is not None:
                yield example


def write_examples(folder: Path, examples: Iterable[Example], problems: Problems, source: Mapping[str, Any]) -> None:
    """Writes examples to an existing folder, followed by a description of them.

    Args:
        folder: The folder.
        examples: The examples.
        problems: What was left out in making them.
        source: Where they come from.

    Raises:
        DataError: If there are no examples, or only some of them have scores.
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
        raise DataError(f"some examples of {dict(source)} have scores and others have none: use one kind per file")
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
