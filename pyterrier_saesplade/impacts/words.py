"""Words as terms beside concepts: their vocabulary over a collection, and BM25's weights."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.errors import DataError, MissingPackageError, SettingError
from pyterrier_saesplade.impacts.statistics import idf_of
from pyterrier_saesplade.vectors import ConceptVectors

#: Lucene's English stop words.
_STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of"}
    | {"on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will"}
    | {"with"}
)
_WORD = re.compile(r"[^\W_]+")

#: Bytes of UTF-8 of the longest stem: Terrier holds terms of 60 bytes at most, and Java may take half as many again.
#: What is longer is an address, or a sentence of a language that does not write words apart.
_LONGEST = 38


class Words:
    """The words of a collection, stemmed, and what BM25 needs to weigh them.

    A document's weight of a word is BM25's saturated count, ``(k1 + 1) tf / (tf + k1 (1 - b + b length / mean))``; a
    query's is its count. The word's idf, ``ln((N + 1) / (df + 0.5))`` as that of latents, is left to who multiplies.

    Args:
        df: The number of documents that hold each stem, by stem.
        n_docs: The number of documents.
        mean_length: Words of a document, in the mean; stop words aside.
        language: Of the stemmer: an algorithm's name of PyStemmer (``"porter"``, ``"german"``, …), or ``"none"``. Words
            are runs of letters and digits, so the language must write them apart; very long ones are left out.
        k1: How late a word's count saturates.
        b: How much the length of a document counts, from 0 to 1.

    Raises:
        ImportError: If PyStemmer is not installed.
        ValueError: If there is no such language, or a setting is out of range.

    Examples:
        >>> words = Words.count([{"docno": "d1", "text": "The cats sat"}, {"docno": "d2", "text": "A cat"}])
        >>> words.stems, words.df.tolist(), words.n_docs, words.mean_length
        (['cat', 'sat'], [2, 1], 2, 1.5)
        >>> words.queries(["cats and dogs"]).row(0)
        (array([0], dtype=int32), array([1.], dtype=float32))

    References:
        Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009.
    """

    def __init__(
        self,
        df: Mapping[str, int],
        n_docs: int,
        mean_length: float,
        *,
        language: str = "porter",
        k1: float = 0.9,
        b: float = 0.4,
    ) -> None:
        if not (math.isfinite(k1) and k1 >= 0 and 0 <= b <= 1):
            raise SettingError(f"k1 must be at least 0 and b from 0 to 1, not {k1!r} and {b!r}")
        find_stemmer(language)
        self.stems = sorted(df)
        self.df = np.array([df[stem] for stem in self.stems], np.int64)
        self.n_docs = n_docs
        self.mean_length = mean_length
        self.language = language
        self.k1 = k1
        self.b = b

    @classmethod
    def count(
        cls,
        documents: Iterable[Mapping[str, Any]],
        *,
        text_field: str = "text",
        language: str = "porter",
        k1: float = 0.9,
        b: float = 0.4,
    ) -> Words:
        """Reads a collection once; in memory is only its vocabulary.

        Args:
            documents: Dictionaries with the text under ``text_field``; ``None`` and an empty text have no words.
            text_field: The key.
            language: See the class, as for ``k1`` and ``b``.
            k1: See the class.
            b: See the class.

        Raises:
            ValueError: If no document holds a word.
        """
        stem = find_stemmer(language)
        df: Counter[str] = Counter()
        n_docs = length = 0
        for document in documents:
            stems = _stems(document[text_field], language, stem)
            df.update(set(stems))
            length += len(stems)
            n_docs += 1
        if not df:
            raise DataError("there are no words to count: the documents are empty, or there are none")
        return cls(df, n_docs, length / n_docs, language=language, k1=k1, b=b)

    def __len__(self) -> int:
        """Returns the number of different stems."""
        return len(self.stems)

    def idf(self) -> NDArray[np.float32]:
        """Returns ``ln((N + 1) / (df + 0.5))`` of each stem."""
        return idf_of(self.df, self.n_docs).astype(np.float32)

    def documents(self, texts: Sequence[str | None]) -> ConceptVectors:
        """Returns the words of documents with their saturated counts; a word's number is its stem's in ``stems``."""
        return ConceptVectors.from_rows(self._document(self._stems(text)) for text in texts)

    def queries(self, texts: Sequence[str | None]) -> ConceptVectors:
        """Returns the words of queries with their counts; those that the collection does not hold are left out."""
        return ConceptVectors.from_rows(self._row(self._stems(text)) for text in texts)

    def to_dict(self) -> dict[str, Any]:
        """Returns the constructor's arguments, which JSON can hold."""
        return {"df": dict(zip(self.stems, self.df.tolist(), strict=True)), **self._settings()}

    @cached_property
    def digest(self) -> str:
        """Identifies the vectors of documents (hexadecimal): the vocabulary and the settings."""
        return sha256(json.dumps([self.stems, self._settings()]).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        """Holds for the same counts and settings."""
        return isinstance(other, Words) and self.digest == other.digest and np.array_equal(self.df, other.df)

    def __hash__(self) -> int:
        """Agrees with ``==``."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """Says how many words of how many documents."""
        return f"<{len(self):,} words of {self.n_docs:,} documents>"

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("n_docs", "mean_length", "language", "k1", "b")}

    def _stems(self, text: str | None) -> list[str]:
        return _stems(text, self.language, find_stemmer(self.language))

    def _document(self, stems: list[str]) -> tuple[list[int], NDArray[np.float64]]:
        numbers, counts = self._row(stems)
        norm = self.k1 * (1 - self.b + self.b * len(stems) / self.mean_length)
        tf = np.array(counts, np.float64)
        return numbers, (self.k1 + 1) * tf / (tf + norm)

    def _row(self, stems: list[str]) -> tuple[list[int], list[int]]:
        counts = Counter(number for stem in stems if (number := self._numbers.get(stem)) is not None)
        numbers = sorted(counts)
        return numbers, [counts[number] for number in numbers]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {stem: number for number, stem in enumerate(self.stems)}


def _stems(text: str | None, language: str, stem: Any) -> list[str]:
    words = _WORD.findall((text or "").lower())
    if language in ("porter", "english"):
        words = [word for word in words if word not in _STOP_WORDS]
    # Of a lone "s", which a possessive leaves, Porter's stemmer leaves nothing.
    return [stemmed for stemmed in (stem(words) if stem else words) if 0 < len(stemmed.encode()) <= _LONGEST]


@lru_cache
def find_stemmer(language: str) -> Any:
    """Returns a function that stems a list of words; ``None`` if nothing is stemmed.

    Raises:
        ImportError: If PyStemmer is not installed.
        ValueError: If it has no such language.
    """
    if language == "none":
        return None
    try:
        import Stemmer
    except ImportError as error:
        raise MissingPackageError("words need PyStemmer: pip install 'pyterrier_saesplade[words]'") from error
    try:
        return Stemmer.Stemmer(language).stemWords
    except KeyError:
        known = ", ".join(Stemmer.algorithms())
        raise SettingError(f"there is no stemmer of {language!r}: give one of {known}, or 'none'") from None
