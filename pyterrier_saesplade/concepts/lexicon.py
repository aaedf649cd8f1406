"""The words that latents come from, and the latents that a query and a document share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pyterrier_saesplade.encoding.encoder import Encoder

#: Texts that are encoded at a time.
_WINDOW = 4096


class Lexicon:
    """For each latent the words that it comes from.

    A text gives a latent one word: that of the token with its largest activation, since pooling keeps no other.

    Examples:
        >>> lexicon = Lexicon()
        >>> lexicon.update([(7, "car"), (7, "truck"), (7, "car"), (9, "the")])
        >>> lexicon.words(7), lexicon.words(7, limit=1), lexicon.words(8)
        (['car', 'truck'], ['car'], [])
    """

    def __init__(self) -> None:
        self._counts: dict[int, Counter[str]] = {}

    @classmethod
    def of(cls, encoder: Encoder, texts: Sequence[str]) -> Lexicon:
        """Reads the lexicon of a model off a collection's documents.

        Args:
            encoder: The model.
            texts: The documents.

        Returns:
            The lexicon; words are in lower case.
        """
        lexicon = cls()
        for start in range(0, len(texts), _WINDOW):
            window = texts[start : start + _WINDOW]
            vectors = encoder.encode(window, side="doc", positions=True)
            assert vectors.positions is not None  # they were asked for
            for i, words in enumerate(_words_by_position(encoder, window)):
                span = slice(vectors.indptr[i], vectors.indptr[i + 1])
                at = vectors.positions[span].tolist()
                lexicon.update((latent, words[p]) for latent, p in zip(vectors.latents[span].tolist(), at, strict=True))
        return lexicon

    def update(self, occurrences: Iterable[tuple[int, str]]) -> None:
        """Counts further pairs of a latent and a word."""
        for latent, word in occurrences:
            self._counts.setdefault(latent, Counter())[word] += 1

    def words(self, latent: int, limit: int | None = None) -> list[str]:
        """Returns the words of a latent, the most frequent first, at most ``limit``; none if it was never active."""
        return [word for word, _ in self._counts.get(latent, Counter()).most_common(limit)]


class SharedConcept(NamedTuple):
    """A latent that is active in a query and in a document, and what it adds to their score."""

    latent: int
    contribution: float


def shared_concepts(
    query: tuple[NDArray[Any], NDArray[Any]],
    document: tuple[NDArray[Any], NDArray[Any]],
    idf: NDArray[Any] | None = None,
) -> list[SharedConcept]:
    """Takes the score of a query and a document apart.

    Args:
        query: Latents and weights, a row of concept vectors.
        document: The same for the document.
        idf: ``[M]``, what query weights are multiplied by; ``None``: nothing.

    Returns:
        The latents that both hold, the largest contribution first; the contributions sum to the score.

    Examples:
        >>> import numpy as np
        >>> query, document = ([1, 4], [2.0, 1.0]), ([0, 1, 4], [3.0, 0.5, 1.5])
        >>> shared_concepts(*((np.array(latents), np.array(weights)) for latents, weights in (query, document)))
        [SharedConcept(latent=4, contribution=1.5), SharedConcept(latent=1, contribution=1.0)]
    """
    weights = dict(zip(document[0].tolist(), document[1].tolist(), strict=True))
    shared = [
        SharedConcept(latent, weight * weights[latent] * (1.0 if idf is None else float(idf[latent])))
        for latent, weight in zip(query[0].tolist(), query[1].tolist(), strict=True)
        if latent in weights
    ]
    return sorted(shared, key=lambda concept: -concept.contribution)


def _words_by_position(encoder: Encoder, texts: Sequence[str]) -> list[list[str]]:
    """For each text the word at each of its tokens, in the positions that the encoder counts."""
    config = encoder.config
    tokens = encoder.tokenizer(
        list(texts), truncation=True, max_length=config.doc_max_length - config.markers, return_offsets_mapping=True
    )
    first = 1 if encoder.tokenizer.cls_token_id is not None else 0
    by_position = []
    for i, text in enumerate(texts):
        words = _whole_words(text, tokens.word_ids(i), tokens["offset_mapping"][i])
        names = [word or piece for word, piece in zip(words, tokens.tokens(i), strict=True)]
        by_position.append(names[:first] + [config.doc_marker] * config.markers + names[first:])
    return by_position


def _whole_words(text: str, word_ids: list[int | None], spans: list[tuple[int, int]]) -> list[str | None]:
    """The word of each token; ``None`` for special tokens. A word of several pieces stands at each of them."""
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for word, (start, end) in zip(word_ids, spans, strict=True):
        if word is not None:
            starts.setdefault(word, start)
            ends[word] = end
    return [None if word is None else text[starts[word] : ends[word]].lower() for word in word_ids]
