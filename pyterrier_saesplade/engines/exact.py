"""The exact engine computes every dot product in float64. It is the reference in the tests of the other engines."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pyterrier_saesplade.engines.description import read_docnos, write_docnos
from pyterrier_saesplade.engines.frames import Hits
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.vectors import ConceptVectors, Postings, best_first

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pyterrier_saesplade.engines.spool import Spool
    from pyterrier_saesplade.impacts import Quantization, Terms


class ExactConceptIndex(ConceptIndex):
    """Posting lists in three memory-mapped numpy arrays, searched one query at a time, term by term.

    It needs no Java, stores float weights (or the integers of a :class:`~pyterrier_saesplade.impacts.Quantization`) and
    scores every posting. A query needs 8 bytes of memory per document.

    Examples:
        >>> index = model.indexer("concepts.exact", "exact").index(documents)
        >>> index == ExactConceptIndex("concepts.exact")
        True
    """

    ARTIFACT_FORMAT: ClassVar[str] = "exact"
    default_quantization: ClassVar[Quantization | None] = None

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Inverts the documents without holding them in memory. The spool has already counted the postings."""
        Postings.write(folder, (vectors for _, vectors in spool), spool.statistics.df)
        write_docnos(folder, spool.docnos())

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Sums the postings of each query's latents; see :meth:`ConceptIndex.search`."""
        return [self._search(*queries.row(query), num_results) for query in range(len(queries))]

    def _search(self, latents: NDArray[np.int32], weights: NDArray[Any], num_results: int) -> Hits:
        starts, documents, stored = self._postings
        scores = np.zeros(len(self))
        for latent, weight in zip(latents.tolist(), weights.tolist(), strict=True):
            postings = slice(starts[latent], starts[latent + 1])
            scores[documents[postings]] += weight * stored[postings].astype(np.float64)
        found = np.flatnonzero(scores)
        found = found[best_first(scores[found], found, num_results)]
        return Hits([self._docnos[document] for document in found.tolist()], scores[found])

    @cached_property
    def _postings(self) -> Postings:
        return Postings.open(self._folder)

    @cached_property
    def _docnos(self) -> list[str]:
        return read_docnos(self._folder)
