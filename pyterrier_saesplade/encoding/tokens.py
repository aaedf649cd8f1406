"""Texts to word pieces: lengths, markers, empty texts."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from pyterrier_saesplade.model import SaeSpladeConfig, Side


class TextTokenizer:
    """Cuts queries and documents into word pieces as a model wants them (paper, section 3.1).

    Args:
        tokenizer: The backbone's.
        config: The model's: lengths and markers.

    Raises:
        ValueError: If the model uses markers that the vocabulary lacks.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: SaeSpladeConfig) -> None:
        self.tokenizer = tokenizer
        # Tokenizers without a limit of their own name a huge number.
        self.longest = min(tokenizer.model_max_length, config.backbone_config.get("max_position_embeddings", 2**62))
        self._lengths: dict[Side, int] = {"doc": config.doc_max_length, "query": config.query_max_length}
        self._markers: dict[Side, list[int]] = {"doc": [], "query": []}
        if config.markers:
            self._markers = {"doc": [self._marker(config.doc_marker)], "query": [self._marker(config.query_marker)]}
        # Markers follow [CLS], where the tokenizer puts one.
        self._head = 1 if tokenizer.cls_token_id is not None else 0

    def __call__(self, texts: Sequence[str | None], side: Side, max_length: int | None = None) -> list[list[int]]:
        """Returns the word pieces of each text; none for ``None``, and for a text that is empty or blank.

        Args:
            texts: The texts.
            side: Which marker and which length apply.
            max_length: A length other than the model's, markers included.
        """
        marker = self._markers[side]
        max_length = max_length or self._lengths[side]
        if max_length > self.longest:
            raise ValueError(f"max_length {max_length} is beyond the backbone, which reads {self.longest} word pieces")
        length = max_length - len(marker)
        smallest = self.tokenizer.num_special_tokens_to_add() + 1
        if length < smallest:
            raise ValueError(f"max_length must leave room for a word piece: at least {smallest + len(marker)}")
        full = [i for i, text in enumerate(texts) if text is not None and text.strip()]
        ids: list[list[int]] = [[] for _ in texts]
        if full:
            tokens = self.tokenizer(
                [texts[i] for i in full],
                truncation=True,
                max_length=length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            for i, pieces in zip(full, tokens, strict=True):
                ids[i] = pieces[: self._head] + marker + pieces[self._head :]
        return ids

    def _marker(self, piece: str) -> int:
        number = self.tokenizer.get_vocab().get(piece)
        if number is None:
            raise ValueError(f"the tokenizer has no word piece {piece!r} to mark texts with: use markers=False")
        return number
