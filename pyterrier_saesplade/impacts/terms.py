"""Pseudo-terms: the names of latents in an index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyterrier_saesplade.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from pyterrier_saesplade.model import SaeSpladeConfig


class Terms:
    """The names of a model's latents: ``c`` and a number for an SAE, the word piece itself for SPLADE.

    Pseudo-terms are only passed in ``toks`` and ``query_toks``, never as text, because Terrier's tokeniser drops words
    with more than four digits.

    Args:
        width: The number of latents, M.
        pieces: The word pieces in the order of the vocabulary, for an MLM head; ``None`` for an SAE.

    Raises:
        SettingError: If the number of word pieces is not ``width``.

    Examples:
        >>> terms = Terms(16384)
        >>> terms.name(12345), terms.latent("c12345"), terms.latent("c99999")
        ('c12345', 12345, None)
    """

    def __init__(self, width: int, pieces: Sequence[str] | None = None) -> None:
        if pieces is not None and len(pieces) != width:
            raise SettingError(f"{len(pieces)} word pieces cannot name {width} latents: give one name per latent")
        self.pieces = None if pieces is None else list(pieces)
        self._names = self.pieces or [f"c{latent}" for latent in range(width)]
        self._latents = {name: latent for latent, name in enumerate(self._names)}

    def __len__(self) -> int:
        """Returns the number of latents, M."""
        return len(self._names)

    def name(self, latent: int) -> str:
        """Returns the pseudo-term of a latent."""
        return self._names[latent]

    def latent(self, name: str) -> int | None:
        """Returns the latent with this pseudo-term, or ``None`` if there is none."""
        return self._latents.get(name)


def terms_of(config: SaeSpladeConfig, tokenizer: PreTrainedTokenizerBase) -> Terms:
    """Returns the names of a model's latents; with an MLM head, they are the word pieces of the tokenizer."""
    if config.head == "sae":
        return Terms(config.width)
    pieces = list(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    # Vocabulary projections are often padded to a multiple of 8 or 64, and may differ in size from the tokenizer's.
    return Terms(config.width, (pieces + [f"[piece{i}]" for i in range(len(pieces), config.width)])[: config.width])
