"""The vectors of a store as they are exported: floats or integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyterrier_saesplade.impacts import Quantization, Terms
    from pyterrier_saesplade.store import StoredVectors
    from pyterrier_saesplade.vectors import ConceptVectors


@dataclass(frozen=True)
class Source:
    """The vectors of a store as they will be written. They can be read any number of times.

    Attributes:
        store: The store.
        quantization: How weights are converted to integers; ``None`` keeps floats.
    """

    store: StoredVectors
    quantization: Quantization | None

    @property
    def terms(self) -> Terms:
        """The names of the latents."""
        return self.store.terms

    def batches(self) -> Iterator[tuple[list[str], ConceptVectors]]:
        """Yields docnos and vectors in batches of a few thousand documents."""
        for docnos, vectors in self.store.batches():
            yield docnos, vectors if self.quantization is None else self.quantization.quantize(vectors)
