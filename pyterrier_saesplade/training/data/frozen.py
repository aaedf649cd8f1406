"""Token states of a frozen backbone, computed once per text and kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from more_itertools import chunked
from torch import Tensor
from tqdm.auto import tqdm

from pyterrier_saesplade.encoding import BATCH_TOKENS, Encoder, token_batches
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.files import atomic_write
from pyterrier_saesplade.vectors import create_array

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyterrier_saesplade.collections import TextTable
    from pyterrier_saesplade.types import Side

#: Number of texts that are tokenised at a time.
_WINDOW = 2048


class FrozenStates:
    """Token states of queries and passages in float32, the same as when the model encodes texts.

    Args:
        folder: The folder that :meth:`encode` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._sides: dict[Side, _States] = {side: _States(folder / side) for side in ("query", "doc")}

    @classmethod
    def encode(
        cls,
        folder: Path,
        encoder: Encoder,
        texts: dict[Side, tuple[TextTable, NDArray[np.int64]]],
        *,
        max_bytes: float,
        verbose: bool = False,
    ) -> FrozenStates:
        """Computes the states of texts and writes them to a folder.

        Args:
            folder: The folder. Files that an earlier run left there are used.
            encoder: The model whose backbone computes the states.
            texts: For each side, a table of texts and the rows to encode.
            max_bytes: Disk space that the states may take, in bytes.
            verbose: Whether to show progress.

        Raises:
            SettingError: If the states would take more disk space.
        """
        if all((folder / side).exists() for side in texts):
            return cls(folder)
        dimension = encoder.model.head.W_enc.shape[1]
        ids: dict[Side, list[list[int]]] = {side: [] for side in texts}
        left = max_bytes / (4 * dimension)
        for side, (table, rows) in texts.items():
            for window in chunked(rows.tolist(), _WINDOW):
                ids[side] += encoder.tokenize(table.texts(window), side)
                left -= sum(map(len, ids[side][-len(window) :]))
                if left < 0:
                    raise SettingError(
                        f"the token states of this data take more than the {max_bytes / 1e9:.1f} GB that "
                        "states_gigabytes allows: raise it, train with fewer examples, or use train='all'"
                    )
        folder.mkdir(parents=True, exist_ok=True)
        for side, (_, rows) in texts.items():
            if not (folder / side).exists():
                with atomic_write(folder / side) as partial:
                    _States.write(partial, encoder, ids[side], rows, dimension, verbose=verbose)
        return cls(folder)

    def of(self, side: Side, row: int) -> Tensor:
        """Returns the states ``[T, d]`` of a text."""
        return self._sides[side][row]


class _States:
    """Memory-mapped states of the texts of one side, by row."""

    def __init__(self, folder: Path) -> None:
        rows, starts = np.load(folder / "rows.npy"), np.load(folder / "starts.npy")
        self._spans = {row: (starts[i], starts[i + 1]) for i, row in enumerate(rows.tolist())}
        states = np.load(folder / "states.npy", mmap_mode="r")
        self._states = states.reshape(starts[-1], len(states) // max(1, starts[-1]))

    def __getitem__(self, row: int) -> Tensor:
        start, stop = self._spans[row]
        return torch.from_numpy(np.array(self._states[start:stop]))

    @staticmethod
    def write(
        folder: Path,
        encoder: Encoder,
        ids: Sequence[list[int]],
        rows: NDArray[np.int64],
        dimension: int,
        *,
        verbose: bool,
    ) -> None:
        folder.mkdir()
        lengths = np.array([len(pieces) for pieces in ids], np.int64)
        starts = np.concatenate(([0], np.cumsum(lengths)))
        np.save(folder / "rows.npy", rows)
        np.save(folder / "starts.npy", starts)
        flat = create_array(folder / "states.npy", np.dtype(np.float32), int(starts[-1]) * dimension)
        states = flat.reshape(-1, dimension)
        with tqdm(total=len(ids), desc="Encoding texts", unit="text", disable=not verbose) as bar:
            for batch in token_batches(lengths, BATCH_TOKENS):
                full = [i for i in batch.tolist() if ids[i]]
                if full:
                    encoded = encoder.token_states([ids[i] for i in full]).cpu().numpy()
                    parts = np.split(encoded, np.cumsum(lengths[full])[:-1])
                    for i, part in zip(full, parts, strict=True):
                        states[starts[i] : starts[i + 1]] = part
                bar.update(len(batch))
