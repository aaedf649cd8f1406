"""Tables of texts on disk, accessed by row or identifier."""

from __future__ import annotations

import json
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from more_itertools import chunked

from pyterrier_saesplade.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyterrier_saesplade.collections.problems import Problems

#: The number of rows written at a time.
_WINDOW = 10_000


class TextTable:
    """Texts on disk, each with an identifier.

    The texts are read with ordinary file access, not through a memory map, whose pages would count towards the memory
    of this process. Only the end of each text and a hash of its identifier are held in memory, 24 bytes per text.

    Args:
        path: A file written by :meth:`write`.

    Attributes:
        problems: What was left out when the table was written, one line for each kind of problem.

    Examples:
        >>> table = TextTable.write(Path("texts.utf8"), [("d1", "sparse vectors"), ("d2", "dense vectors")])
        >>> table.rows(["d2", "d9"]).tolist()
        [1, -1]
        >>> table.texts([1])
        ['dense vectors']
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bounds: NDArray[np.int64] = np.load(_bounds_of(path))
        self.problems: list[str] = json.loads(_problems_of(path).read_text(encoding="utf-8"))

    @classmethod
    def write(cls, path: Path, texts: Iterable[tuple[str, str]], problems: Problems | None = None) -> TextTable:
        """Writes texts to a file.

        Args:
            path: The file. Files of the same name with other suffixes are written next to it.
            texts: Pairs of an identifier and a text, in the order of the rows.
            problems: The problems found while ``texts`` is read, to be stored with the table.
        """
        keys, lengths = [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
        with atomic_write(path) as partial, partial.open("wb") as file:
            for window in chunked(texts, _WINDOW):
                encoded = [text.encode() for _, text in window]
                file.writelines(encoded)
                keys.append(np.fromiter((key(identifier) for identifier, _ in window), np.int64, len(window)))
                lengths.append(np.fromiter(map(len, encoded), np.int64, len(window)))
        for place, array in (
            (_keys_of(path), np.concatenate(keys)),
            (_bounds_of(path), np.cumsum(np.concatenate(lengths))),
        ):
            with atomic_write(place) as partial, partial.open("wb") as file:
                np.save(file, array)
        with atomic_write(_problems_of(path)) as partial:
            partial.write_text(json.dumps(problems.report() if problems else []), encoding="utf-8")
        return cls(path)

    def __len__(self) -> int:
        """Returns the number of texts."""
        return len(self._bounds) - 1

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Returns the texts in the given rows."""
        texts = []
        with self._path.open("rb") as file:
            for row in rows:
                start, stop = self._bounds[row : row + 2].tolist()
                file.seek(start)
                texts.append(file.read(stop - start).decode())
        return texts

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Returns the row of each identifier: the first if there are several, -1 if there is none."""
        keys, order = self._keys
        wanted = np.fromiter(map(key, ids), np.int64, len(ids))
        places = np.searchsorted(keys, wanted)
        places[places == len(keys)] = 0
        return np.where(keys[places] == wanted, order[places], -1) if len(keys) else np.full(len(ids), -1)

    @cached_property
    def _keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        keys = np.load(_keys_of(self._path))
        order = np.argsort(keys, kind="stable")
        return keys[order], order


def _keys_of(path: Path) -> Path:
    return path.with_suffix(".keys.npy")


def _bounds_of(path: Path) -> Path:
    return path.with_suffix(".bounds.npy")


def _problems_of(path: Path) -> Path:
    return path.with_suffix(".problems.json")


def key(identifier: str) -> int:
    """Returns a 64-bit hash of a string; among ten million strings, the probability of a collision is 1 in 400,000."""
    return int.from_bytes(blake2b(identifier.encode(), digest_size=8).digest(), "little", signed=True)
