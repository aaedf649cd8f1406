"""What the rest of the package needs of a model, in two protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pyterrier_saesplade.impacts import Terms
from pyterrier_saesplade.types import Side, Weighting
from pyterrier_saesplade.vectors import ConceptVectors


class IndexedModel(Protocol):
    """What stores and indexes record of a model; ``str()`` names it. A store of its vectors can stand for it."""

    @property
    def terms(self) -> Terms:
        """The names of its latents."""

    @property
    def fingerprint(self) -> str:
        """Identifies its weights, its tokenizer and its document-side settings."""

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies its queries by."""


class ConceptModel(IndexedModel, Protocol):
    """A model that encodes texts; :class:`~pyterrier_saesplade.SaeSplade` is the one that users hold.

    A model compares equal to another that gives the same vectors, and is hashable.
    """

    def encode(
        self, texts: Sequence[str | None], side: Side = "doc", *, k: int | None = None, verbose: bool | None = None
    ) -> ConceptVectors:
        """Returns the concept vectors of ``texts``; ``None`` and an empty text have an empty one.

        Transformers show a progress bar of their own, and pass ``verbose=False``.
        """

    def as_query(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns vectors of documents as if they were those of queries, the same unless the sides differ."""
        return documents
