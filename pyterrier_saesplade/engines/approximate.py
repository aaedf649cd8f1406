"""What approximate engines share: they find candidates, which are rescored with the stored vectors."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.engines.forward import ForwardIndex
from pyterrier_saesplade.engines.frames import Hits
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.vectors import ConceptVectors


class ApproximateConceptIndex(ConceptIndex):
    """An index whose engine may miss documents, and beside it the documents' vectors.

    More candidates are taken from the engine than documents are asked for; the best of them are returned with their
    exact dot products. Of documents that tie with the last place, any may be returned.

    Args:
        path: The folder.
        overfetch: Candidates per document that is asked for.

    Raises:
        ValueError: If ``overfetch`` is below 1.
    """

    def __init__(self, path: str | os.PathLike[str], overfetch: float) -> None:
        if not 1 <= overfetch < math.inf:
            raise SettingError(f"overfetch must be a number of candidates per result, at least 1, not {overfetch!r}")
        super().__init__(path)
        self.overfetch = overfetch

    @abstractmethod
    def candidates(self, latents: NDArray[np.int32], weights: NDArray[Any], number: int) -> NDArray[np.int64]:
        """Returns the positions of documents that promise the largest dot products with a query, each once.

        Args:
            latents: The query's latents, ascending; there may be none, and some that no document has.
            weights: Their weights.
            number: How many documents to return at most.

        Raises:
            EngineError: If the engine failed.
        """

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Finds candidates and rescores them; see :meth:`ConceptIndex.search`. Documents may be missed.

        Raises:
            EngineError: If the engine failed.
        """
        number = min(math.ceil(self.overfetch * num_results), len(self))
        hits = []
        for latents, weights in map(queries.row, range(len(queries))):
            positions = self.candidates(latents, weights, number)
            hits.append(self._documents.best(latents, weights, positions, num_results))
        return hits

    @cached_property
    def _documents(self) -> ForwardIndex:
        return ForwardIndex(self._folder, self.width)
