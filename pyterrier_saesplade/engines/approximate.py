"""The base class of approximate engines, which find candidates that are rescored with stored vectors."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.engines.forward import ForwardIndex
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.errors import SettingError

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from pyterrier_saesplade.engines.frames import Hits
    from pyterrier_saesplade.vectors import ConceptVectors


class ApproximateConceptIndex(ConceptIndex):
    """An index of an engine that may miss documents, with the vectors of the documents.

    The engine returns more candidates than the number of results. The best candidates are returned with their exact
    dot products. If several documents tie for the last rank, any of them may be returned.

    Args:
        path: The folder of the index.
        overfetch: Number of candidates per result.

    Raises:
        SettingError: If ``overfetch`` is below 1.
    """

    def __init__(self, path: str | os.PathLike[str], overfetch: float) -> None:
        if not 1 <= overfetch < math.inf:
            raise SettingError(f"overfetch must be a number of candidates per result, at least 1, not {overfetch!r}")
        super().__init__(path)
        self.overfetch = overfetch

    @abstractmethod
    def candidates(self, latents: NDArray[np.int32], weights: NDArray[Any], number: int) -> NDArray[np.int64]:
        """Returns distinct positions of documents that probably have the largest dot products with a query.

        Args:
            latents: The latents of the query, in ascending order. There may be none, and some may be in no document.
            weights: The weights of these latents.
            number: Maximum number of documents to return.

        Raises:
            EngineError: If the engine fails.
        """

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Finds candidates and rescores them; see :meth:`ConceptIndex.search`. Documents may be missed.

        Raises:
            EngineError: If the engine fails.
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
