"""Tokenisation: truncation, markers and empty texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pyterrier_saesplade.errors import ModelError, SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from pyterrier_saesplade.model import SaeSpladeConfig
    from pyterrier_saesplade.types import Side


class Token(NamedTuple):
    """A word piece of a text, and the span of the word that it belongs to.

    Attributes:
        piece: The word piece, as in the vocabulary.
        start: The start of the word in the text, in characters; 0 for special tokens and markers.
        end: The end of the word in the text, in characters; 0 for special tokens and markers.
    """

    piece: str
    start: int
    end: int

    def word(self, text: str) -> str:
        """Returns the word; for a special token or a marker, its name.

        Examples:
            >>> Token("##coders", 0, 12).word("Autoencoders learn"), Token("[CLS]", 0, 0).word("Autoencoders learn")
            ('Autoencoders', '[CLS]')
        """
        return text[self.start : self.end].strip() if self.end > self.start else self.piece


class TextTokenizer:
    """Tokenises queries and documents, adding markers and truncating as the model requires (paper, section 3.1).

    Args:
        tokenizer: The tokenizer of the backbone.
        config: The configuration of the model, which has the lengths and markers.

    Raises:
        SettingError: If the model uses markers that are not in the vocabulary.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: SaeSpladeConfig) -> None:
        self.tokenizer = tokenizer
        # Tokenizers without a limit report a huge number.
        self.longest = min(tokenizer.model_max_length, config.backbone_config.get("max_position_embeddings", 2**62))
        self._lengths: dict[Side, int] = {"doc": config.doc_max_length, "query": config.query_max_length}
        self._markers: dict[Side, list[int]] = {"doc": [], "query": []}
        if config.markers:
            self._markers = {"doc": [self._marker(config.doc_marker)], "query": [self._marker(config.query_marker)]}
        # Markers follow [CLS], where the tokenizer puts one.
        self._head = 1 if tokenizer.cls_token_id is not None else 0

    @property
    def special(self) -> list[int]:
        """The ids of special tokens and markers."""
        return [*self.tokenizer.all_special_ids, *self._markers["doc"], *self._markers["query"]]

    def __call__(self, texts: Sequence[str | None], side: Side, max_length: int | None = None) -> list[list[int]]:
        """Returns the token ids of each text; none for ``None`` and blank strings.

        Args:
            texts: The texts.
            side: Which marker and maximum length to use.
            max_length: The maximum number of word pieces, including markers, in place of the model's.

        Raises:
            SettingError: If ``max_length`` is too short for a word piece, or too long for the backbone.
        """
        marker = self._markers[side]
        full = [i for i, text in enumerate(texts) if text is not None and text.strip()]
        ids: list[list[int]] = [[] for _ in texts]
        if full:
            tokens = self._cut([texts[i] for i in full], side, max_length)["input_ids"]
            for i, pieces in zip(full, tokens, strict=True):
                ids[i] = pieces[: self._head] + marker + pieces[self._head :]
        return ids

    def tokens(self, texts: Sequence[str], side: Side, max_length: int | None = None) -> list[list[Token]]:
        """Returns the same word pieces with the spans of their words, at the positions that vectors refer to.

        Args:
            texts: The texts. Blank strings have no tokens.
            side: As for calls.
            max_length: As for calls.

        Raises:
            ModelError: If the tokenizer is a slow one, which does not return offsets.
            SettingError: As for calls.
        """
        if not self.tokenizer.is_fast:
            raise ModelError(
                f"{type(self.tokenizer).__name__} does not tell where in a text its word pieces come from: "
                "use a model with a fast tokenizer"
            )
        if not texts:
            return []
        cut = self._cut(texts, side, max_length, return_offsets_mapping=True)
        markers = [Token(piece, 0, 0) for piece in self.tokenizer.convert_ids_to_tokens(self._markers[side])]
        found = []
        for i, text in enumerate(texts):
            tokens = _tokens(cut.tokens(i), cut.word_ids(i), cut["offset_mapping"][i]) if text.strip() else []
            found.append(tokens[: self._head] + markers + tokens[self._head :] if tokens else [])
        return found

    def _cut(self, texts: Sequence[str | None], side: Side, max_length: int | None, **options: Any) -> Any:
        marker = self._markers[side]
        max_length = max_length or self._lengths[side]
        if max_length > self.longest:
            raise SettingError(
                f"max_length is {max_length}, but the backbone reads at most {self.longest} word pieces: lower it"
            )
        length = max_length - len(marker)
        smallest = self.tokenizer.num_special_tokens_to_add() + 1
        if length < smallest:
            raise SettingError(
                f"max_length must leave room for a word piece: at least {smallest + len(marker)}, not {max_length}"
            )
        return self.tokenizer(
            list(texts),
            truncation=True,
            max_length=length,
            return_attention_mask=False,
            return_token_type_ids=False,
            **options,
        )

    def _marker(self, piece: str) -> int:
        number = self.tokenizer.get_vocab().get(piece)
        if number is None:
            raise SettingError(f"the tokenizer has no word piece {piece!r} to use as a marker: use markers=False")
        return number


def _tokens(pieces: list[str], words: list[int | None], spans: list[tuple[int, int]]) -> list[Token]:
    """Gives each word piece the span of its whole word."""
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for word, (start, end) in zip(words, spans, strict=True):
        if word is not None:
            starts.setdefault(word, start)
            ends[word] = end
    return [
        Token(piece, 0, 0) if word is None else Token(piece, starts[word], ends[word])
        for piece, word in zip(pieces, words, strict=True)
    ]
