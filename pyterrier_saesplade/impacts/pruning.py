"""Which of a text's weights are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.checks import require_share
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts.quantization import require_finite
from pyterrier_saesplade.vectors import ConceptVectors


@dataclass(frozen=True)
class Pruning:
    """Static pruning of concept vectors, each text by itself: small weights are dropped, the others stay as they are.

    The rules are the usual ones of learned sparse retrieval. On documents ``k`` is document-centric and ``threshold``
    agnostic pruning (Lassance et al., *A Static Pruning Study on Sparse Neural Retrievers*, SIGIR 2023). ``mass`` gives
    the α-mass subvector (Bruch et al., *Efficient Inverted Indexes for Approximate Retrieval over Learned Sparse
    Representations*, SIGIR 2024). If several are given, what is kept is what each of them, applied to the whole text,
    keeps. Of equal weights the first are kept: the smaller latents of a vector, the earlier terms of a dictionary.

    Attributes:
        k: Keeps the ``k`` largest weights.
        max_ratio: Keeps weights of at least this share of the text's largest, above 0 and at most 1.
        mass: Keeps the fewest largest weights whose sum reaches this share of the sum of all, above 0 and at most 1.
        threshold: Keeps weights of at least this much, positive.

    Raises:
        ValueError: If no rule is given, or one is out of its range.

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
            raise SettingError("nothing says what to prune: give k, max_ratio, mass or threshold")
        if self.k is not None and (isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1):
            raise SettingError(f"k must be a positive integer, not {self.k!r}")
        require_share(max_ratio=self.max_ratio, mass=self.mass)
        if self.threshold is not None and not 0 < self.threshold < np.inf:
            raise SettingError(f"threshold must be a positive weight, not {self.threshold!r}")

    def prune(self, vectors: ConceptVectors) -> ConceptVectors:
        """Prunes concept vectors, floats or integers.

        Raises:
            ValueError: If a weight is NaN or infinite.
        """
        require_finite(vectors.weights)
        texts = vectors.rows
        order = np.lexsort((-vectors.weights, texts))
        keep = np.empty(len(order), np.bool_)
        keep[order] = self._keeps(vectors.weights[order].astype(np.float64), vectors.indptr)
        return vectors.where(keep)

    def prune_toks(self, toks: Mapping[str, float]) -> dict[str, float]:
        """Prunes one text's weights by term, keeping their order.

        Raises:
            ValueError: If a weight is NaN or infinite.
        """
        if not toks:
            return {}
        ranked = sorted(toks, key=toks.__getitem__, reverse=True)  # of equal weights the first stays the first
        weights = [float(toks[term]) for term in ranked]
        require_finite(np.array(weights))
        kept = len(ranked)  # every rule keeps the first so many
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
        """Tells of the weights of texts, each text's in descending order, which are kept."""
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
    """Returns for each weight the sum of its text's weights up to it.

    Place after place for all texts, and not as one running sum less what it was at the start of a text: so a sum does
    not depend, by rounding, on the texts before.
    """
    sums = weights.copy()
    starts, lengths = indptr[:-1], np.diff(indptr)
    for place in range(1, lengths.max(initial=0)):
        longer = lengths > place
        starts, lengths = starts[longer], lengths[longer]
        sums[starts + place] += sums[starts + place - 1]
    return sums
