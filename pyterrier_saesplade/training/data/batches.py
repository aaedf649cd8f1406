"""Batches of queries and passages, which depend neither on restarts nor on the number of processes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pyterrier_saesplade.encoding import TextTokenizer, pad, token_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pyterrier_saesplade.training.data.examples import TrainingData
    from pyterrier_saesplade.training.data.frozen import FrozenStates
    from pyterrier_saesplade.types import Side

#: Part of the seed for drawing a query's passages, which keeps it different from the seeds that order the queries.
_DRAW = 1


class Source(NamedTuple):
    """Training data to draw queries from.

    Attributes:
        data: The queries and passages.
        numbers: Numbers of the examples to draw from.
        states: The token states of their texts; ``None``: the backbone computes them.
    """

    data: TrainingData
    numbers: NDArray[np.int64]
    states: FrozenStates | None = None


class RankingBatches(IterableDataset[dict[str, Any]]):
    """An endless stream of batches of queries with ``nway`` passages each.

    Queries come in a new random order in every pass, and in turn from each of several sources. A query's positive and
    its other passages are drawn at random. All of this depends only on the seed and on the query's number in the
    stream, so that processes that share a batch get the same queries and passages as a single process.

    Args:
        sources: The data to draw queries from.
        tokenize: The model's tokenizer.
        nway: Number of passages per query.
        batch: Number of queries per batch, summed over all processes.
        group_tokens: Number of word pieces in one forward pass of the backbone.
        seed: Seed of all random choices.
        pad_id: Id of the word piece used for padding.
        shard: Index of the part of every batch that this process takes.
        shards: Number of equal parts, one per process.

    Attributes:
        start: Number of the batch that the next iteration starts with.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tokenize: TextTokenizer,
        *,
        nway: int,
        batch: int,
        group_tokens: int,
        seed: int,
        pad_id: int = 0,
        shard: int = 0,
        shards: int = 1,
    ) -> None:
        self.sources = sources
        self.tokenize = tokenize
        self.nway = nway
        self.batch = batch
        self.group_tokens = group_tokens
        self.seed = seed
        self.pad_id = pad_id
        self.shard = shard
        self.shards = shards
        self.start = 0
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields batches endlessly, starting with number ``start``. Several workers take turns."""
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number = self.start + first
        while True:
            yield self[number]
            number += step

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Returns this process's part of a batch, as keyword arguments of :class:`Ranker`."""
        size = self.batch // self.shards
        first = number * self.batch + self.shard * size
        drawn = [self._draw(query) for query in range(first, first + size)]
        batch: dict[str, Any] = {"ignored": self._ignored(drawn)}
        batch["queries"] = self._groups([(one.source, one.query) for one in drawn], "query")
        batch["documents"] = self._groups([(one.source, row) for one in drawn for row in one.passages], "doc")
        if all(len(one.scores) for one in drawn):
            batch["teacher"] = torch.tensor(np.stack([one.scores for one in drawn]))
        return batch

    def _draw(self, number: int) -> _Drawn:
        """Returns query ``number`` of the stream and the passages drawn for it."""
        source = number % len(self.sources)
        data, numbers, _ = self.sources[source]
        epoch, place = divmod(number // len(self.sources), len(numbers))
        example = data[self._order(source, epoch)[place]]
        generator = np.random.default_rng([self.seed, _DRAW, number])
        positive = generator.integers(example.positives)
        others = np.arange(example.positives, len(example.passages))
        chosen = np.concatenate(([positive], generator.choice(others, self.nway - 1, replace=False)))
        scores = example.scores[chosen] if len(example.scores) else example.scores
        positives = frozenset(example.passages[: example.positives].tolist())
        return _Drawn(source, example.query, example.passages[chosen].tolist(), scores, positives)

    def _order(self, source: int, epoch: int) -> NDArray[np.int64]:
        if source not in self._orders or self._orders[source][0] != epoch:
            numbers = self.sources[source].numbers
            order = np.random.default_rng([self.seed, 0, source, epoch]).permutation(len(numbers))
            self._orders[source] = epoch, numbers[order]
        return self._orders[source][1]

    def _ignored(self, drawn: Sequence[_Drawn]) -> Tensor:
        """Returns ``[B, N]``: for each query, the batch's passages that are further positives of it."""
        columns = [(one.source, row) for one in drawn for row in one.passages]
        positives: dict[tuple[int, int], set[int]] = defaultdict(set)
        for one in drawn:  # the same query may come from several examples
            positives[one.source, one.query] |= one.positives
        ignored = torch.zeros((len(drawn), len(columns)), dtype=torch.bool)
        for i, one in enumerate(drawn):
            own = positives[one.source, one.query]
            answers = [source == one.source and row in own for source, row in columns]
            ignored[i] = torch.tensor(answers)
            ignored[i, i * self.nway] = False
        return ignored

    def _groups(self, places: Sequence[tuple[int, int]], side: Side) -> list[dict[str, Any]]:
        """Returns the texts at some places (source and row) in groups of similar length, one per forward pass."""
        if self.sources[0].states is not None:
            return [self._states(places, side)]
        texts: list[str] = [""] * len(places)
        for source in {source for source, _ in places}:
            chosen = [i for i, place in enumerate(places) if place[0] == source]
            table = self.sources[source].data.queries if side == "query" else self.sources[source].data.passages
            for i, text in zip(chosen, table.texts([places[i][1] for i in chosen]), strict=True):
                texts[i] = text
        ids = self.tokenize(texts, side)
        nonempty = np.array([i for i, pieces in enumerate(ids) if pieces], np.int64)
        lengths = np.array([len(ids[i]) for i in nonempty], np.int64)
        groups = []
        for members in token_batches(lengths, self.group_tokens):
            input_ids, mask = pad([ids[i] for i in nonempty[members]], self.pad_id)
            bounds = np.concatenate(([0], np.cumsum(lengths[members]))).tolist()
            group = {"texts": torch.from_numpy(nonempty[members]), "bounds": bounds}
            groups.append(group | {"input_ids": input_ids, "attention_mask": mask})
        return groups

    def _states(self, places: Sequence[tuple[int, int]], side: Side) -> dict[str, Any]:
        parts = []
        for source, row in places:
            states = self.sources[source].states
            assert states is not None, "either all sources have states, or none of them"
            parts.append(states.of(side, row))
        bounds = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).tolist()
        return {"texts": torch.arange(len(places)), "bounds": bounds, "states": torch.cat(parts)}


class _Drawn(NamedTuple):
    """A query of the stream and the passages drawn for it, the positive first; all are rows in its source's tables."""

    source: int
    query: int
    passages: list[int]
    scores: NDArray[np.float32]
    positives: frozenset[int]
