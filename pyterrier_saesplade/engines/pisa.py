"""PISA: concept vectors in a compressed inverted index in C++, searched with dynamic pruning, without Java."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pyterrier_saesplade.engines.frames import Hits, search_toks, toks_documents
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.engines.native import library, silence
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import Quantization, Terms, to_toks

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from pyterrier_pisa import PisaIndex, PisaRetrieve

    from pyterrier_saesplade.engines.spool import Spool
    from pyterrier_saesplade.vectors import ConceptVectors

_SUBFOLDER = "pisa"

#: PISA's algorithms that score every document that shares a latent with the query.
_ALGORITHMS = ("maxscore", "block_max_maxscore", "block_max_wand", "wand", "ranked_or")


class PisaConceptIndex(ConceptIndex):
    """A plain PISA impact index in the subfolder ``pisa``, next to the description of the model.

    The PISA index is usable without this package: ``PisaIndex(path / "pisa", stemmer="none")`` opens it, and its
    ``quantized(toks_scale=1.0)`` takes ``query_toks`` of integers.

    Args:
        path: The folder of the index.
        query_algorithm: The name of one of PISA's algorithms: ``"maxscore"``, ``"block_max_maxscore"``,
            ``"block_max_wand"``, ``"wand"`` or ``"ranked_or"``. They differ only in speed. PISA's default is block-max
            WAND, which can skip little with learned weights (Mackenzie et al. 2021, arXiv 2110.11540). MaxScore takes
            about half the time here.

    Raises:
        SettingError: If the algorithm is not one of these.

    Examples:
        >>> index = model.indexer("concepts.pisa", "pisa").index(documents)
        >>> index = pt.Artifact.load("concepts.pisa", query_algorithm="block_max_wand")
    """

    ARTIFACT_FORMAT: ClassVar[str] = "pisa"
    default_quantization: ClassVar[Quantization | None] = Quantization()
    packages: ClassVar[tuple[str, ...]] = ("pyterrier_pisa",)

    def __init__(self, path: str | os.PathLike[str], query_algorithm: str = "maxscore") -> None:
        if query_algorithm not in _ALGORITHMS:
            raise SettingError(f"query_algorithm must be one of {', '.join(_ALGORITHMS)}, not {query_algorithm!r}")
        super().__init__(path)
        self.query_algorithm = query_algorithm

    @property
    def search_options(self) -> dict[str, Any]:
        """The query algorithm."""
        return {"query_algorithm": self.query_algorithm}

    @classmethod
    def prepare(cls) -> None:
        """Checks that PISA is installed."""
        _pisa()

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Indexes, and makes PISA compress the index now instead of at the first search."""
        index = _pisa().PisaIndex(folder / _SUBFOLDER, stemmer="none")
        with silence():
            index.toks_indexer(scale=1.0).index(toks_documents(spool, terms))
            index.quantized(toks_scale=1.0)

    @cached_property
    def pisa(self) -> PisaIndex:
        """The plain ``PisaIndex``."""
        return _pisa().PisaIndex(self._folder / _SUBFOLDER, stemmer="none")

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Searches with PISA; see :meth:`ConceptIndex.search`. Ties are in PISA's order."""
        self._retriever.num_results = num_results
        return search_toks(self._retriever, to_toks(queries, self.terms))

    @cached_property
    def _retriever(self) -> PisaRetrieve:
        with silence():
            return self.pisa.quantized(toks_scale=1.0, query_algorithm=self.query_algorithm)


def _pisa() -> Any:
    return library("pisa", "pyterrier_pisa", "pyterrier_pisa")
