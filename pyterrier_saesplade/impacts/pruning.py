"""Static pruning: which weights of a text are kept."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_saesplade.checks import require_share
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts.quantization import require_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pyterrier_saesplade.vectors import ConceptVectors


@dataclass(frozen=True)
class Pruning:
    """Static pruning of concept vectors: the small weights of each text are dropped, the others stay as they are.

    The rules are the usual ones in learned sparse retrieval. Applied to documents, ``k`` is document-centric pruning
    and ``threshold`` is agnostic pruning (Lassance et al., *A Static Pruning Study on Sparse Neural Retrievers*, SIGIR
    2023). ``mass`` keeps the α-mass subvector (Bruch et al., *Efficient Inverted Indexes for Approximate Retrieval over
    Learned Sparse Representations*, SIGIR 2024).

    If several rules are given, each is applied to the whole text, and a weight is kept if all of them keep it. Ties are
    broken in favour of the smaller latent of a vector, or the earlier term of a dictionary.

    Attributes:
        k: Keeps the ``k`` largest weights.
        max_ratio: Keeps weights of at least this share of the largest weight of the text; in (0, 1].
        mass: Keeps the smallest number of the largest weights that add up to this share of the sum of all weights; in
            (0, 1].
        threshold: Keeps weights of at least this value; positive.

    Raises:
        SettingError: If no rule is given, or a value is out of range.

    Examples:
        >>> toks = {"c1": 2.0, "c2": 0.5, "c3": 1.0, "c4": 0.5}
        >>> Pruning(k=3).prune_toks(toks)
        {'c1': 2.0, 'c2': 0.5, 'c3': 1.0}
        >>> Pruning(max_ratio=0.5).prune_toks(toks)
        {'c1': 2.0, 'c3': 1.0}
        >>> Pruning(mass=0.75).prune_toks(toks) == Pruning(threshold=0.6).prune_toks(toks)
        True
    """

    k: int | None = None
    max_ratio: float | None = None
    mass: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if all(rule is None for rule in astuple(self)):
            raise SettingError("no pruning rule is given: give k, max_ratio, mass or threshold")
        if self.k is not None and (isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1):
            raise SettingError(f"k must be a positive integer, not {self.k!r}")
        require_share(max_ratio=self.max_ratio, mass=self.mass)
        if self.threshold is not None and not 0 < self.threshold < np.inf:
            raise SettingError(f"threshold must be a positive finite number, not {self.threshold!r}")

    def prune(self, vectors: ConceptVectors) -> ConceptVectors:
        """Prunes concept vectors, whose weights may be floats or integers.

        Raises:
            DataError: If a weight is NaN or infinite.

        Examples:
            >>> vectors = ConceptVectors.from_rows([([3, 7, 9], [0.5, 2.0, 1.0])])
            >>> Pruning(k=2).prune(vectors).latents
            array([7, 9], dtype=int32)
        """
        require_finite(vectors.weights)
        texts = vectors.rows
        order = np.lexsort((-vectors.weights, texts))
        keep = np.empty(len(order), np.bool_)
        keep[order] = self._keeps(vectors.weights[order].astype(np.float64), vectors.indptr)
        return vectors.where(keep)

    def prune_toks(self, toks: Mapping[str, float]) -> dict[str, float]:
        """Prunes the weights of one text, given by term; the order of the terms is preserved.

        Raises:
            DataError: If a weight is NaN or infinite.
        """
        # Not converted to a vector, because ties are broken by the order of the terms, which need not be latents.
        if not toks:
            return {}
        ranked = sorted(toks, key=toks.__getitem__, reverse=True)  # stable: terms with equal weights stay in order
        weights = [float(toks[term]) for term in ranked]
        require_finite(np.array(weights))
        kept = len(ranked)  # each rule keeps a prefix of the ranking
        if self.k is not None:
            kept = min(kept, self.k)
        if self.max_ratio is not None:
            kept = min(kept, sum(weight >= self.max_ratio * weights[0] for weight in weights))
        if self.mass is not None:
            *before, total = accumulate(weights, initial=0.0)
            kept = min(kept, sum(mass < self.mass * total for mass in before))
        if self.threshold is not None:
            kept = min(kept, sum(weight >= self.threshold for weight in weights))
        largest = set(ranked[:kept])
        return {term: weight for term, weight in toks.items() if term in largest}

    def _keeps(self, weights: NDArray[np.float64], indptr: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns which weights are kept; those of each text are in descending order."""
        lengths = np.diff(indptr)
        starts, ends = np.repeat(indptr[:-1], lengths), np.repeat(indptr[1:], lengths)
        keep = np.ones(len(weights), np.bool_)
        if self.k is not None:
            keep &= np.arange(len(weights)) < starts + self.k
        if self.max_ratio is not None:
            keep &= weights >= self.max_ratio * weights[starts]
        if self.mass is not None:
            sums = _running_sums(weights, indptr)
            before = np.concatenate(([0.0], sums))[:-1]
            before[starts] = 0.0
            keep &= before < self.mass * sums[ends - 1]
        if self.threshold is not None:
            keep &= weights >= self.threshold
        return keep


def _running_sums(weights: NDArray[np.float64], indptr: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the cumulative sum of the weights within each text.

    The sums are computed for all texts in parallel, one position at a time. Subtracting the start of each text from one
    cumulative sum over all texts would be simpler, but its rounding would depend on the preceding texts.
    """
    sums = weights.copy()
    starts, lengths = indptr[:-1], np.diff(indptr)
    for place in range(1, lengths.max(initial=0)):
        longer = lengths > place
        starts, lengths = starts[longer], lengths[longer]
        sums[starts + place] += sums[starts + place - 1]
    return sums
