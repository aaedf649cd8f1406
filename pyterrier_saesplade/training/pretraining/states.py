"""Batches of token states of a corpus, which come from memory-mapped blocks on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset
from tqdm.auto import tqdm

from pyterrier_saesplade.encoding import BATCH_TOKENS, Encoder, token_batches
from pyterrier_saesplade.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pyterrier_saesplade.training.extra import Dataset

#: Number of documents that are sorted by length together, and after which progress is saved.
_WINDOW = 512


@dataclass(frozen=True)
class _Progress:
    """How much of a block has been encoded.

    Attributes:
        first_document: Place of the block's first document in the shuffled corpus, counted on over repeated passes.
        next_document: Place of the first document that is not encoded yet.
        lengths: Number of documents with token states, whose lengths are in the block's file of lengths.
        rows: Number of token states in the block's file of states.
        complete: Whether the block is full, or ends with a pass over the corpus.
    """

    first_document: int
    next_document: int
    lengths: int = 0
    rows: int = 0
    complete: bool = False


class StateBatches(IterableDataset[dict[str, Tensor]]):
    """An endless stream of batches of token states, drawn at random from blocks of a corpus.

    A block is a file of bfloat16 states of limited size. If the whole corpus fits in one block, or the run needs no
    more states than fit, the block is encoded once and only reshuffled for every pass. Otherwise the next block
    replaces it when all its batches have been drawn. The batches depend only on the seed and the corpus, so that a
    resumed run continues with the batch that it would have had without the interruption.

    Args:
        texts: The corpus, as :func:`~pyterrier_saesplade.training.pretraining.texts.spool_texts` returns it.
        encoder: The encoder that computes the token states.
        folder: The folder of the blocks. Files that an earlier run left there are used.
        batch: Number of states per batch, or of documents if ``by_document``.
        by_document: Whether a batch holds all states of ``batch`` documents.
        max_rows: Maximum number of states in a block. It may be exceeded by less than the states of one window of
            documents.
        seed: Seed of the order of documents and states.
        shard: Index of the share of the corpus that this process draws from.
        shards: Number of equal shares, one per process.
        verbose: Whether to show progress.

    Attributes:
        start: Number of the batch that the next iteration starts with.
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
        self.start = 0
        folder.mkdir(parents=True, exist_ok=True)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yields ``{"states": [T, d]}`` in bfloat16 endlessly, starting with batch ``start``."""
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
        """Returns the states ``[T, d]`` of the first documents of the shuffled corpus, and the documents' bounds."""
        progress = self._block(0)
        lengths = self._lengths(progress)[:documents]
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        return self._states(progress)[: bounds[-1]].clone(), bounds.tolist()

    def rows(self, count: int) -> Tensor:
        """Returns the first ``count`` states ``[N, d]`` of the stream, or all states of its first block if fewer."""
        progress = self._block(0)
        order = np.random.default_rng([self.seed, self.shard, 0]).permutation(progress.rows)
        return self._states(progress)[order[:count]]

    def _shuffled(self, progress: _Progress, number: int, skip: int) -> Iterator[dict[str, Tensor]]:
        states = self._states(progress)
        lengths = self._lengths(progress)
        ends = np.cumsum(lengths)
        count = len(lengths) if self.by_document else progress.rows
        order = np.random.default_rng([self.seed, self.shard, number]).permutation(count)
        # A block smaller than a batch is repeated to fill the batch.
        order = np.resize(order, max(self.batch, count))
        for start in range(skip * self.batch, len(order) - self.batch + 1, self.batch):
            chosen = order[start : start + self.batch]
            if self.by_document:
                yield {"states": torch.cat([states[ends[i] - lengths[i] : ends[i]] for i in chosen])}
            else:
                yield {"states": states[chosen]}

    def _block(self, first_document: int) -> _Progress:
        """Returns the block that begins at a place in the shuffled, repeated corpus, after encoding what is missing."""
        path = self._path(first_document, "json")
        progress = (
            _Progress(**json.loads(path.read_text())) if path.exists() else _Progress(first_document, first_document)
        )
        return progress if progress.complete else self._encode(progress)

    def _encode(self, progress: _Progress) -> _Progress:
        """Encodes the rest of a block, and removes the states of all other blocks."""
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
        """Encodes one more window of documents, and records the progress once the states are on disk."""
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
        """Returns the word pieces of the chosen texts, documents first, then queries; empty texts are left out."""
        rows = self.texts[chosen]
        ids = []
        for side in ("doc", "query"):
            texts = [
                text for text, query in zip(rows["text"], rows["query"], strict=True) if query == (side == "query")
            ]
            ids += [pieces for pieces in self.encoder.tokenize(texts, side) if pieces]
        return ids

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Returns this shard's documents in the order of one pass over the corpus."""
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
            # A later block replaced this one before the run was stopped, but the last checkpoint is older than that.
            self._encode(_Progress(progress.first_document, progress.first_document))
        size = progress.rows * self.dimension
        return torch.from_file(str(path), shared=False, size=size, dtype=torch.bfloat16).view(-1, self.dimension)
