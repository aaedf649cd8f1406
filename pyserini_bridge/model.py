"""A model that encodes, without PyTerrier."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from pyterrier_saesplade.encoding.encoder import Encoder
from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.impacts import Terms, Weighting
from pyterrier_saesplade.impacts.terms import terms_of

_SPLADE = "splade="


class BridgeModel:
    """A model as stores and indexes need it; :class:`~pyterrier_saesplade.SaeSplade` is another.

    Args:
        name: Folder or hub name of a SAE-SPLADE model; ``splade=NAME`` for any SPLADE checkpoint.
        device: Where to compute; ``None``: the first GPU, else the CPU.

    Raises:
        OSError: If there is no such model.
        ValueError: If it lacks weights, or is of another kind.
    """

    def __init__(self, name: str | os.PathLike[str], device: str | None = None) -> None:
        self.name = str(name)
        if self.name.startswith(_SPLADE):
            self._encoder = Encoder.from_splade(self.name.removeprefix(_SPLADE), device=device)
        else:
            self._encoder = Encoder.from_pretrained(self.name, device=device)
        self.terms: Terms = terms_of(self._encoder.config, self._encoder.tokenizer)
        self.fingerprint: str = self._encoder.fingerprint
        self.weighting: Weighting = self._encoder.config.weighting

    def __str__(self) -> str:
        """Returns the name that it was opened with."""
        return self.name

    def encode(
        self, texts: Sequence[str | None], side: Literal["doc", "query"] = "doc", *, verbose: bool | None = None
    ) -> ConceptVectors:
        """Returns the concept vectors of ``texts``; ``None`` and an empty text have an empty one."""
        return self._encoder.encode(texts, side=side, verbose=bool(verbose))
