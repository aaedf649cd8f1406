"""BMP: Block-Max Pruning over one-byte impacts in Rust. Its candidates are rescored exactly."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pyterrier_saesplade.engines.approximate import ApproximateConceptIndex
from pyterrier_saesplade.engines.forward import ForwardIndex
from pyterrier_saesplade.engines.native import library, panics_as_errors, silence
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import Quantization, Terms, to_toks

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from bmp import Searcher
    from numpy.typing import NDArray

    from pyterrier_saesplade.engines.spool import Spool

_SUBFOLDER = "bmp"

#: Documents per block.
_BLOCK = 8
#: BMP's limits: impacts have 8 bits, term numbers and scores have 16 bits, and all of them overflow silently.
_MOST_IMPACT, _MOST_TERMS, _MOST_SCORE = 255, 2**16, 2**16 - 1
#: BMP scales the weights of a query so that the largest becomes this weight, and rounds them up.
_MOST_WEIGHT = 32.0
#: BMP stores the impact of each term at ranks 10, 100 and 1,000. In a search for at most that many documents, it skips
#: every document whose score does not exceed what a single term contributes at that rank. The impact at rank 1 is used
#: here to bound scores.
_RANKS = (1, 10, 100, 1000)

#: The name of the documents that fill up a block, and of the document in the last block.
_PADDING = "-1"
#: Among the blocks whose bound is above the threshold, BMP leaves out the one with the lowest bound, and panics if
#: there is none. A last block is therefore added, with these terms and impacts. The terms are in no vocabulary, because
#: word pieces contain no spaces. Every query contains them, with weights that make the bound of their block the lowest
#: possible.
_LAST = {"last block 255": 255, "last block 16": 16, "last block 1": 1}
_MOST_LATENTS = _MOST_TERMS - len(_LAST)
#: This term is in no document. Every query contains it with the largest weight, so that BMP does not scale the others.
_RULER = "largest weight"


class BmpConceptIndex(ApproximateConceptIndex):
    """A Block-Max Pruning index in the subfolder ``bmp``, with the vectors of the documents to rescore its candidates.

    BMP is approximate here: query weights have at most 32 levels, and impacts are at most 255. It finds more candidates
    than the number of results. The best candidates are returned with their exact integer dot products. BMP loads its
    index into memory. It can distinguish 65,533 latents. If there are more, the rarest ones do not find candidates but
    do count in scores. If several documents tie for the last rank, any of them may be returned.

    Args:
        path: The folder of the index.
        alpha: A block is skipped if its bound times ``alpha`` is below the score of the last candidate. With values
            below 1, more blocks are skipped and documents are missed.
        beta: Share of the latents of a query, the heaviest ones, that are used to find candidates.
        overfetch: Number of candidates per result.

    Raises:
        SettingError: If ``alpha`` or ``beta`` is not in (0, 1], or ``overfetch`` is below 1.

    Examples:
        >>> index = model.indexer("concepts.bmp", "bmp").index(documents)
        >>> fast = pt.Artifact.load("concepts.bmp", alpha=0.8, overfetch=1.5)
    """

    ARTIFACT_FORMAT: ClassVar[str] = "bmp"
    default_quantization: ClassVar[Quantization | None] = Quantization()
    packages: ClassVar[tuple[str, ...]] = ("bmp",)

    def __init__(
        self, path: str | os.PathLike[str], alpha: float = 1.0, beta: float = 1.0, overfetch: float = 2.0
    ) -> None:
        for name, share in (("alpha", alpha), ("beta", beta)):
            if not 0 < share <= 1:
                raise SettingError(f"{name} must be above 0 and at most 1, not {share!r}")
        super().__init__(path, overfetch)
        self.alpha = alpha
        self.beta = beta

    @property
    def search_options(self) -> dict[str, Any]:
        """The settings for finding candidates."""
        return {"alpha": self.alpha, "beta": self.beta, "overfetch": self.overfetch}

    @classmethod
    def prepare(cls) -> None:
        """Checks that BMP is installed."""
        _bmp()

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Indexes the documents. BMP builds its index in memory.

        Impacts above 255 are clipped in BMP's index, and the rarest latents are left out if there are too many.
        Warnings say how many. Documents are rescored with all of their latents and with full impacts.

        Raises:
            EngineError: If BMP fails.
        """
        ForwardIndex.write(folder, spool)
        (folder / _SUBFOLDER).mkdir()
        with panics_as_errors("use another engine"):
            impacts = _index(folder / _SUBFOLDER / "index.bmp", spool, terms)
        np.save(folder / _SUBFOLDER / "impacts.npy", impacts)

    def candidates(self, latents: NDArray[np.int32], weights: NDArray[Any], number: int) -> NDArray[np.int64]:
        """Finds candidates with BMP; see :meth:`ApproximateConceptIndex.candidates`."""
        levels = query_levels(weights, self._impacts[0, latents], self.beta)
        kept = np.flatnonzero(levels)
        latents, levels = latents[kept], levels[kept]
        names = map(self.terms.name, latents.tolist())
        query = dict(zip(names, levels.astype(np.float64).tolist(), strict=True))
        rank = np.searchsorted(_RANKS[1:], number) + 1
        skipped = int((self._impacts[rank, latents] * levels).max(initial=0)) if rank < len(_RANKS) else 0
        found = self._find(query, number, skipped)
        if len(found) < number and skipped:  # too many documents have exactly the score up to which BMP skipped
            found = self._find(query, _RANKS[-1] + 1, 0)
        return found

    def _find(self, query: dict[str, float], number: int, skipped: int) -> NDArray[np.int64]:
        """Searches with BMP, which skips documents with scores up to ``skipped``."""
        bound = skipped + 1
        last = {}
        for term, impact in _LAST.items():
            last[term], bound = float(bound // impact), bound % impact
        with panics_as_errors("build the index again, or use another engine"):
            found, _ = self.bmp.search(query | last | {_RULER: _MOST_WEIGHT}, k=number, alpha=self.alpha, beta=1.0)
        positions = np.array(found, np.int64)
        return positions[positions >= 0]

    @cached_property
    def bmp(self) -> Searcher:
        """The plain ``Searcher`` of BMP. Its documents are numbered in indexing order; its terms are latent names."""
        with panics_as_errors("the index is damaged: build it again"):
            return _bmp().Searcher(str(self._folder / _SUBFOLDER / "index.bmp"))

    @cached_property
    def _impacts(self) -> NDArray[np.int64]:
        """``[4, M]``, the impacts of each latent at ranks 1, 10, 100 and 1,000, as in BMP's index."""
        impacts: NDArray[np.int64] = np.load(self._folder / _SUBFOLDER / "impacts.npy")
        return impacts


def query_levels(weights: NDArray[Any], largest: NDArray[np.int64], beta: float) -> NDArray[np.int64]:
    """Returns the weights of a query for BMP, scaled so that no score exceeds 16 bits.

    Args:
        weights: The positive weights of the latents of the query.
        largest: The largest impact of each of these latents, 0 if it is in no document.
        beta: Share of the latents to keep, the heaviest ones.

    Returns:
        Weights from 1 to 32 for the latents that are kept, and 0 for the others. If a query has so many latents that
        even weights of 1 could exceed 16 bits, only the heaviest latents are kept.

    Examples:
        >>> query_levels(np.array([2.0, 1.0, 0.01]), np.array([10, 20, 0]), beta=1.0)
        array([32, 16,  0])
    """
    heaviest = np.argsort(-weights, kind="stable")
    known = heaviest[largest[heaviest] > 0]
    kept = known[: math.ceil(beta * len(known))]
    kept = kept[np.cumsum(largest[kept]) <= _MOST_SCORE // 2]
    levels = np.zeros(len(weights), np.int64)
    if len(kept):
        weights, largest = weights[kept].astype(np.float64), largest[kept]
        # Rounding adds less than 1 to each weight, so it adds less than the sum of the largest impacts to a score.
        scale = min(_MOST_WEIGHT / weights.max(), (_MOST_SCORE - largest.sum()) / (weights @ largest))
        levels[kept] = np.maximum(np.rint(weights * scale), 1)
    return levels


def _index(path: Path, spool: Spool, terms: Terms) -> NDArray[np.int64]:
    """Builds BMP's index and returns the impacts of each latent at :data:`_RANKS`."""
    indexer = _bmp().Indexer(str(path), bsize=_BLOCK, compress_range=True)
    counts = np.zeros((len(terms), _MOST_IMPACT + 1), np.int32)
    indexed = _most_frequent(spool.statistics.df)
    documents = clipped = 0
    for _, whole in spool:
        vectors = whole.where(indexed[whole.latents])
        impacts = np.minimum(vectors.weights, _MOST_IMPACT)
        clipped += int(np.count_nonzero(impacts != vectors.weights))
        np.add.at(counts, (vectors.latents, impacts), 1)
        for position, toks in enumerate(to_toks(replace(vectors, weights=impacts), terms), documents):
            indexer.add_document(str(position), toks)
        documents += len(vectors)
    for _ in range(-documents % _BLOCK):
        indexer.add_document(_PADDING, {})
    indexer.add_document(_PADDING, _LAST)
    with silence():
        indexer.finish()
    if clipped:
        warnings.warn(
            f"{clipped} of {spool.n_postings} impacts were above {_MOST_IMPACT} and were clipped in BMP's index, which "
            "finds candidates; scores are computed from the full impacts",
            stacklevel=2,
        )
    # There is a column for each impact from 255 down to 1, with the number of documents that have at least that impact.
    # The impact at a rank is the number of columns that reach the rank.
    at_least = counts[:, :0:-1].cumsum(axis=1, dtype=np.int32)
    return np.stack([np.count_nonzero(at_least >= rank, axis=1) for rank in _RANKS])


def _most_frequent(df: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the latents to index, as many as BMP can distinguish, and warns if others are left out."""
    present = np.flatnonzero(df)
    rarest = present[np.argsort(df[present], kind="stable")][: max(len(present) - _MOST_LATENTS, 0)]
    if len(rarest):
        warnings.warn(
            f"{len(rarest)} of {len(present)} latents, the rarest, with {df[rarest].sum()} of {df.sum()} postings, "
            f"were left out of BMP's index, which finds candidates and distinguishes at most {_MOST_LATENTS} latents; "
            "scores are computed from all of them",
            stacklevel=2,
        )
    indexed = np.ones(len(df), np.bool_)
    indexed[rarest] = False
    return indexed


def _bmp() -> Any:
    return library("bmp", "bmp", "bmp")
