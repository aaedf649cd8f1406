"""Seismic: clustered posting lists of float weights in Rust. Its candidates are rescored exactly."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.engines.approximate import ApproximateConceptIndex
from pyterrier_saesplade.engines.forward import ForwardIndex
from pyterrier_saesplade.engines.native import library, panics_as_errors, silence
from pyterrier_saesplade.errors import EngineError, SettingError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray
    from seismic import SeismicIndex

    from pyterrier_saesplade.engines.spool import Spool
    from pyterrier_saesplade.impacts import Quantization, Terms

_SUBFOLDER = "seismic"

#: From this width on, Seismic's classes for large vocabularies are used. The other classes number latents in 16 bits.
_LARGE = 2**16
#: The largest weight that Seismic can store; it uses half precision.
_MOST_WEIGHT = float(np.finfo(np.float16).max)
#: Build parameters: postings per latent on average, and how large clusters and their summaries are.
_BUILD = {"n_postings": 3500, "centroid_fraction": 0.1, "summary_energy": 0.5, "max_fraction": 6.0}


class SeismicConceptIndex(ApproximateConceptIndex):
    """A Seismic index in the subfolder ``seismic``, with the vectors of the documents to rescore its candidates.

    Seismic is approximate. It searches only the heaviest latents of a query, only the heaviest postings of each latent,
    and only clusters with a sufficient estimated score. The documents it finds are returned with their exact dot
    products. It loads its index into memory. If several documents tie for the last rank, any of them may be returned.

    Args:
        path: The folder of the index.
        query_cut: Number of latents per query, the heaviest ones, that are used to find candidates.
        heap_factor: A cluster is skipped if its estimated score divided by this factor is below the score of the last
            candidate. Larger values are faster and miss more documents.
        overfetch: Number of candidates per result.

    Raises:
        SettingError: If ``query_cut`` is not positive, ``heap_factor`` is not in (0, 1], or ``overfetch`` is below 1.

    Examples:
        >>> index = model.indexer("concepts.seismic", "seismic").index(documents)
        >>> fast = pt.Artifact.load("concepts.seismic", query_cut=8, heap_factor=0.9)
    """

    ARTIFACT_FORMAT: ClassVar[str] = "seismic"
    default_quantization: ClassVar[Quantization | None] = None
    packages: ClassVar[tuple[str, ...]] = ("pyseismic-lsr",)

    def __init__(
        self,
        path: str | os.PathLike[str],
        query_cut: int = 40,
        heap_factor: float = 0.8,
        overfetch: float = 1.5,
    ) -> None:
        require_positive(query_cut=query_cut)
        if not 0 < heap_factor <= 1:
            raise SettingError(f"heap_factor must be above 0 and at most 1, not {heap_factor!r}")
        super().__init__(path, overfetch)
        self.query_cut = query_cut
        self.heap_factor = heap_factor

    @property
    def search_options(self) -> dict[str, Any]:
        """The settings for finding candidates."""
        return {"query_cut": self.query_cut, "heap_factor": self.heap_factor, "overfetch": self.overfetch}

    @classmethod
    def prepare(cls) -> None:
        """Checks that Seismic is installed."""
        _seismic()

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Indexes the documents. Seismic builds its index in memory.

        Weights above 65,504 are clipped in Seismic's index. A warning says how many. Rescoring uses the full weights.

        Raises:
            EngineError: If Seismic fails.
        """
        ForwardIndex.write(folder, spool)
        (folder / _SUBFOLDER).mkdir()
        seismic, suffix = _seismic(), _suffix(len(terms))
        with panics_as_errors("use another engine"):
            dataset = getattr(seismic, f"SeismicDataset{suffix}")(dim=len(terms))
            _fill(dataset, spool)
            with silence():
                index = getattr(seismic, f"SeismicIndex{suffix}").build_from_dataset(dataset, **_BUILD)
                index.save(str(folder / _SUBFOLDER / "index"))

    def candidates(self, latents: NDArray[np.int32], weights: NDArray[Any], number: int) -> NDArray[np.int64]:
        """Finds candidates with Seismic; see :meth:`ApproximateConceptIndex.candidates`."""
        known = self.statistics.df[latents] > 0  # latents that are in no document must not use up query_cut
        with panics_as_errors("build the index again, or use another engine"):
            found = self.seismic.search(
                "",
                latents[known].astype(_seismic().get_seismic_string()),
                weights[known].astype(np.float32),
                k=number,
                query_cut=self.query_cut,
                heap_factor=self.heap_factor,
            )
        return np.array([document for _, _, document in found], np.int64)

    @cached_property
    def seismic(self) -> SeismicIndex:
        """The plain ``SeismicIndex``. Its documents are numbered in indexing order; its tokens are latent numbers."""
        index = getattr(_seismic(), f"SeismicIndex{_suffix(self.width)}")
        with panics_as_errors("the index is damaged: build it again"):
            try:
                return index.load(str(self._folder / _SUBFOLDER / "index.index.seismic"))
            except OSError as error:
                raise EngineError(f"Seismic cannot load {self.path}: {error}: build the index again") from error


def _fill(dataset: Any, spool: Spool) -> None:
    documents = clipped = 0
    for _, vectors in spool:
        weights = np.minimum(vectors.weights, _MOST_WEIGHT, dtype=np.float32)
        clipped += int(np.count_nonzero(vectors.weights > _MOST_WEIGHT))
        positions = list(map(str, range(documents, documents + len(vectors))))
        dataset.add_documents_by_id(positions, vectors.latents.astype(np.int64), weights, vectors.indptr)
        documents += len(vectors)
    if clipped:
        warnings.warn(
            f"{clipped} of {spool.n_postings} weights were above {_MOST_WEIGHT:g} and were clipped in Seismic's index, "
            "which finds candidates; scores are computed from the full weights",
            stacklevel=2,
        )


def _suffix(width: int) -> str:
    return "LV" if width >= _LARGE else ""


def _seismic() -> Any:
    return library("seismic", "pyseismic-lsr", "seismic")
