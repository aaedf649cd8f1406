"""Token states of a corpus, encoded into memory-mapped blocks, in random order, the same after every restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset
from tqdm.auto import tqdm

from pyterrier_saesplade.encoding import BATCH_TOKENS, Encoder, token_batches
from pyterrier_saesplade.files import atomic_write
from pyterrier_saesplade.training.extra import Dataset

#: Documents that are sorted by length together, and after which progress is noted.
_WINDOW = 512


@dataclass(frozen=True)
class _Progress:
    """How far a block has been encoded: documents by their place in the shuffled corpus, and what the files hold."""

    first_document: int
    next_document: int
    lengths: int = 0
    rows: int = 0
    complete: bool = False


class StateBatches(IterableDataset[dict[str, Tensor]]):
    """An endless stream of batches of token states, drawn at random from blocks of a corpus.

    A block is a file of bfloat16 states that takes at most the disk allowed. If the whole corpus fits one, or the run
    needs no more states than fit, it is encoded once and only shuffled anew for every pass; otherwise the next block
    takes its place when it is used up. Everything follows from the seed and the files, so that a run that was killed
    goes on with the batch that it would have had.

    Args:
        texts: The corpus, as :func:`~pyterrier_saesplade.training.pretraining.texts.spool_texts` writes it.
        encoder: Whose token states are wanted.
        folder: Where the blocks are written; files that an earlier run left there are used.
        batch: States in a batch, or documents if ``by_document``.
        by_document: Whether a batch holds all states of ``batch`` documents.
        max_rows: States in a block, at most.
        seed: Of the order of documents and states.
        shard: Which of ``shards`` equal shares of the corpus to draw from: one per process.
        shards: See ``shard``.
        verbose: Whether to show progress.
    """

    def __init__(
        self,
        texts: Dataset,
        encoder: Encoder,
        folder: Path,
        *,
        batch: int,
        by_document: bool,
        max_rows: int,
        seed: int,
        shard: int = 0,
        shards: int = 1,
        verbose: bool = False,
    ) -> None:
        self.texts = texts
        self.encoder = encoder
        self.folder = folder
        self.batch = batch
        self.by_document = by_document
        self.max_rows = max_rows
        self.seed = seed
        self.shard = shard
        self.shards = shards
        self.verbose = verbose
        self.dimension = encoder.model.head.W_enc.shape[1]
        self._epoch_order: tuple[int, NDArray[np.int64]] | None = None
        #: The batch that the next iteration begins with.
        self.start = 0
        folder.mkdir(parents=True, exist_ok=True)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yields ``{"states": [T, d]}`` in bfloat16, from batch ``start`` on, without end."""
        skip = self.start
        number = 0
        first_document = 0
        while True:
            progress = self._block(first_document)
            batches = max(1, (progress.lengths if self.by_document else progress.rows) // self.batch)
            if skip < batches:
                yield from self._shuffled(progress, number, skip)
            skip = max(0, skip - batches)
            number += 1
            if not self._holds_everything(progress):
                first_document = progress.next_document

    def sample(self, documents: int) -> tuple[Tensor, list[int]]:
        """Returns the states ``[T, d]`` of the corpus's first documents, in random order, and their bounds."""
        progress = self._block(0)
        lengths = self._lengths(progress)[:documents]
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        return self._states(progress)[: bounds[-1]].clone(), bounds.tolist()

    def rows(self, count: int) -> Tensor:
        """Returns the first ``count`` states ``[N, d]`` of the stream, or all that its first block has."""
        progress = self._block(0)
        order = np.random.default_rng([self.seed, self.shard, 0]).permutation(progress.rows)
        return self._states(progress)[order[:count]]

    def _shuffled(self, progress: _Progress, number: int, skip: int) -> Iterator[dict[str, Tensor]]:
        states = self._states(progress)
        lengths = self._lengths(progress)
        ends = np.cumsum(lengths)
        count = len(lengths) if self.by_document else progress.rows
        order = np.random.default_rng([self.seed, self.shard, number]).permutation(count)
        # A corpus smaller than a batch is taken more than once.
        order = np.resize(order, max(self.batch, count))
        for start in range(skip * self.batch, len(order) - self.batch + 1, self.batch):
            chosen = order[start : start + self.batch]
            if self.by_document:
                yield {"states": torch.cat([states[ends[i] - lengths[i] : ends[i]] for i in chosen])}
            else:
                yield {"states": states[chosen]}

    def _block(self, first_document: int) -> _Progress:
        """Finds the block that begins at a place of the endlessly repeated, shuffled corpus, or encodes it."""
        path = self._path(first_document, "json")
        progress = (
            _Progress(**json.loads(path.read_text())) if path.exists() else _Progress(first_document, first_document)
        )
        return progress if progress.complete else self._encode(progress)

    def _encode(self, progress: _Progress) -> _Progress:
        """Encodes the rest of a block, in place of any other."""
        first_document = progress.first_document
        for old in self.folder.glob("block-*.states"):
            if old != self._path(first_document, "states"):
                old.unlink()
        for suffix, size in (("states", progress.rows * self.dimension * 2), ("lengths", progress.lengths * 4)):
            with self._path(first_document, suffix).open("ab") as file:
                file.truncate(size)
        bar = tqdm(desc="Encoding the corpus", unit="doc", initial=progress.lengths, disable=not self.verbose)
        with bar:
            while not progress.complete:
                before = progress.lengths
                progress = self._extend(progress)
                bar.update(progress.lengths - before)
        return progress

    def _extend(self, progress: _Progress) -> _Progress:
        """Encodes one more window of documents, and notes it once it is on disk."""
        total = self._documents()
        place = progress.next_document
        chosen = self._order(place // total)[place % total : place % total + _WINDOW]
        ids = self._tokenize(chosen)
        lengths = np.array([len(pieces) for pieces in ids], np.int32)
        written = []
        with self._path(progress.first_document, "states").open("ab") as file:
            for batch in token_batches(lengths, BATCH_TOKENS):
                states = self.encoder.token_states([ids[i] for i in batch])
                file.write(states.to("cpu", torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes())
                written.append(lengths[batch])
        with self._path(progress.first_document, "lengths").open("ab") as file:
            file.write(np.concatenate(written).tobytes())
        next_document = place + len(chosen)
        rows = progress.rows + int(lengths.sum())
        extended = _Progress(
            progress.first_document,
            next_document,
            progress.lengths + len(lengths),
            rows,
            complete=rows >= self.max_rows or next_document % total == 0,
        )
        with atomic_write(self._path(progress.first_document, "json")) as partial:
            partial.write_text(json.dumps(asdict(extended)))
        return extended

    def _tokenize(self, chosen: NDArray[np.int64]) -> list[list[int]]:
        """Returns the word pieces of texts: first of documents, then of queries."""
        rows = self.texts[chosen]
        ids = []
        for side in ("doc", "query"):
            texts = [
                text for text, query in zip(rows["text"], rows["query"], strict=True) if query == (side == "query")
            ]
            ids += [pieces for pieces in self.encoder.tokenize(texts, side) if pieces]
        return ids

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Returns this shard's documents in the order in which a pass over the corpus takes them."""
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.texts))
            self._epoch_order = epoch, order[self.shard :: self.shards]
        return self._epoch_order[1]

    def _holds_everything(self, progress: _Progress) -> bool:
        return progress.next_document - progress.first_document >= self._documents()

    def _documents(self) -> int:
        return len(range(self.shard, len(self.texts), self.shards))

    def _path(self, first_document: int, suffix: str) -> Path:
        return self.folder / f"block-{first_document}.{suffix}"

    def _lengths(self, progress: _Progress) -> NDArray[np.int32]:
        return np.fromfile(self._path(progress.first_document, "lengths"), np.int32, progress.lengths)

    def _states(self, progress: _Progress) -> Tensor:
        path = self._path(progress.first_document, "states")
        if not path.exists():
            # The run was stopped after this block had made room for a later one, and goes on from before.
            self._encode(_Progress(progress.first_document, progress.first_document))
        size = progress.rows * self.dimension
        return torch.from_file(str(path), shared=False, size=size, dtype=torch.bfloat16).view(-1, self.dimension)
