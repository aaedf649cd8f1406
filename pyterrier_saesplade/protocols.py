"""The two protocols that describe what the rest of the package needs from a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyterrier_saesplade.impacts import Terms
    from pyterrier_saesplade.types import Side, Weighting
    from pyterrier_saesplade.vectors import ConceptVectors


class IndexedModel(Protocol):
    """What stores and indexes record about a model. ``str()`` names it; a store of its vectors can stand in for it."""

    @property
    def terms(self) -> Terms:
        """The names of the latents."""

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, the tokenizer and the document-side settings."""

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies query weights by."""


class ConceptModel(IndexedModel, Protocol):
    """A model that encodes texts, such as :class:`~pyterrier_saesplade.SaeSplade`.

    Models are hashable, and two models that produce the same vectors compare equal.
    """

    def encode(
        self, texts: Sequence[str | None], side: Side = "doc", *, k: int | None = None, verbose: bool | None = None
    ) -> ConceptVectors:
        """Returns the concept vectors of ``texts``; the vector of ``None`` or an empty string is empty.

        Transformers show their own progress bar and pass ``verbose=False``.
        """

    def as_query(self, documents: ConceptVectors) -> ConceptVectors:
        """Returns document vectors as query vectors; they are the same unless the model distinguishes the two sides."""
        return documents
