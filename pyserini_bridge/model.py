"""A model that encodes texts without PyTerrier."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pyterrier_saesplade.encoding import Encoder
from pyterrier_saesplade.impacts import Terms, terms_of
from pyterrier_saesplade.model import check_encoder, parse_model_name
from pyterrier_saesplade.protocols import ConceptModel

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from pyterrier_saesplade.types import Side, Weighting
    from pyterrier_saesplade.vectors import ConceptVectors


class BridgeModel(ConceptModel):
    """A model for stores and indexes, like :class:`~pyterrier_saesplade.SaeSplade` but without PyTerrier.

    Args:
        name: Folder or hub name of a SAE-SPLADE model; ``splade=NAME`` for a SPLADE checkpoint.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.

    Raises:
        PathNotFoundError: If there is no such model.
        ModelError: If the model cannot be loaded, lacks weights, or is of another kind.

    Examples:
        >>> vectors = BridgeModel("my-model").encode(["young cat"], "query")
        >>> len(vectors)
        1
    """

    def __init__(self, name: str | os.PathLike[str], device: str | None = None) -> None:
        self.name = str(name)
        source, head = parse_model_name(name)
        check_encoder(source)
        open_source = Encoder.from_splade if head == "mlm" else Encoder.from_pretrained
        self._encoder = open_source(source, device=device)

    @cached_property
    def terms(self) -> Terms:
        """The names of the latents."""
        return terms_of(self._encoder.config, self._encoder.tokenizer)

    @property
    def fingerprint(self) -> str:
        """Identifies the document vectors: weights, tokenizer and document-side settings (hexadecimal)."""
        return self._encoder.fingerprint

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies query weights by."""
        return self._encoder.config.weighting

    def __str__(self) -> str:
        """Returns the name that the model was opened with."""
        return self.name

    def encode(
        self, texts: Sequence[str | None], side: Side = "doc", *, k: int | None = None, verbose: bool | None = None
    ) -> ConceptVectors:
        """Returns the concept vectors of ``texts``. The vector of ``None`` or an empty string is empty."""
        return self._encoder.encode(texts, side=side, k=k, verbose=bool(verbose))
