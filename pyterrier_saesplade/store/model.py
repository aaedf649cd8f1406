"""What stores and indexes need of the model whose vectors they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.impacts import Terms, Weighting


class IndexedModel(Protocol):
    """What they remember of it; ``str()`` names it. A store of its vectors can stand for it."""

    @property
    def terms(self) -> Terms:
        """The names of its latents."""

    @property
    def fingerprint(self) -> str:
        """What identifies its weights, its tokenizer and its document-side settings."""

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies its queries by."""


class EncodingModel(IndexedModel, Protocol):
    """A model that encodes; :class:`~pyterrier_saesplade.SaeSplade` is the one that users hold."""

    def encode(
        self, texts: Sequence[str | None], side: Literal["doc", "query"] = "doc", *, verbose: bool | None = None
    ) -> ConceptVectors:
        """Returns the concept vectors of ``texts``; ``None`` and an empty text have an empty one."""
