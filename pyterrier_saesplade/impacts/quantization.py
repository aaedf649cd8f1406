"""Quantisation of weights: the only place where floats become integers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_saesplade.errors import AlreadyQuantizedError, DataError, SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pyterrier_saesplade.vectors import ConceptVectors


@dataclass(frozen=True)
class Quantization:
    """Converts weights to integer impacts, ``round(weight * scale)``, and drops zeros.

    Engines that store integers truncate floats, and some of them corrupt their postings if an impact is 0. Therefore
    weights are only ever rounded here, and the settings are stored with the index.

    Attributes:
        scale: Levels per unit of weight, positive. The default of 10 suits Terrier, whose postings grow with the
            impacts: a finer scale takes more space without a measurable gain.
        clip: The largest impact, for engines that have a limit (such as 255 for one byte). Larger impacts are clipped,
            with a warning that says how many. ``None`` means no limit.

    Raises:
        SettingError: If ``scale`` is not positive and finite, or ``clip`` is not a positive integer.

    Examples:
        >>> Quantization(scale=10).quantize_toks({"c1": 0.04, "c2": 0.05, "c3": 1.26})
        {'c2': 1, 'c3': 13}
    """

    scale: float = 10.0
    clip: int | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise SettingError(f"scale must be a positive number of levels per unit of weight, not {self.scale!r}")
        if self.clip is not None and (not isinstance(self.clip, int) or self.clip < 1):
            raise SettingError(f"clip must be a positive integer, not {self.clip!r}")

    def quantize(self, vectors: ConceptVectors) -> ConceptVectors:
        """Quantises concept vectors.

        Args:
            vectors: Vectors with float weights.

        Returns:
            The same texts with ``int32`` weights of at least 1.

        Raises:
            AlreadyQuantizedError: If the weights are integers.
            DataError: If a weight is NaN or infinite.

        Examples:
            >>> vectors = ConceptVectors.from_rows([([3, 7], [0.5, 0.01])])
            >>> Quantization(scale=10).quantize(vectors).row(0)
            (array([3], dtype=int32), array([5], dtype=int32))
        """
        impacts = self._impacts(vectors.weights)
        return replace(vectors, weights=impacts).where(impacts > 0)

    def quantize_toks(self, toks: Mapping[str, float]) -> dict[str, int]:
        """Quantises the weights of one text, given by term; the order of the terms is preserved.

        Raises:
            AlreadyQuantizedError: If all weights are Python or numpy integers.
            DataError: If a weight is NaN or infinite.
        """
        if not toks:
            return {}
        weights = list(toks.values())
        if all(isinstance(weight, int | np.integer) for weight in weights):
            raise AlreadyQuantizedError
        impacts = self._impacts(np.asarray(weights, np.float64))
        return {term: impact for term, impact in zip(toks, impacts.tolist(), strict=True) if impact > 0}

    def _impacts(self, weights: NDArray[Any]) -> NDArray[np.int32]:
        if np.issubdtype(weights.dtype, np.integer):
            raise AlreadyQuantizedError
        require_finite(weights)
        # Rounds half up, in float64: numpy rounds half to even, so 0.05 and 0.15 would be two levels apart.
        levels = np.floor(weights.astype(np.float64) * self.scale + 0.5)
        ceiling = np.iinfo(np.int32).max if self.clip is None else self.clip
        clipped = int((levels > ceiling).sum())
        if clipped:
            warnings.warn(f"{clipped} of {len(levels)} impacts were above {ceiling} and were clipped", stacklevel=3)
        return np.clip(levels, 0, ceiling).astype(np.int32)


def require_finite(weights: NDArray[Any]) -> None:
    """Raises a :exc:`DataError` if a weight is NaN or infinite."""
    if not np.isfinite(weights).all():
        raise DataError("weights must be finite: a model that produces NaN or infinity is broken")
