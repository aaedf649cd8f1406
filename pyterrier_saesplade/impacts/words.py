"""Words as terms next to concepts: the vocabulary of a collection, and BM25 weights."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_saesplade.errors import DataError, MissingPackageError, SettingError
from pyterrier_saesplade.impacts.statistics import idf_of
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

#: Lucene's English stop words.
_STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of"}
    | {"on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will"}
    | {"with"}
)
_WORD = re.compile(r"[^\W_]+")

#: The length of the longest stem, in bytes of UTF-8. Terrier stores at most 60 bytes per term, and Java may need half
#: as many bytes again. Longer stems are addresses, or sentences in a language without spaces between words.
_LONGEST = 38


class Words:
    """The stemmed words of a collection, with the statistics that BM25 needs to weight them.

    The weight of a word in a document is BM25's saturated term frequency, ``(k1 + 1) tf / (tf + k1 (1 - b + b length /
    mean))``. Its weight in a query is its count. Neither includes the idf, ``ln((N + 1) / (df + 0.5))`` as for latents,
    by which the caller multiplies (see :meth:`idf`).

    Args:
        df: The number of documents that contain each stem, by stem.
        n_docs: The number of documents, N.
        mean_length: The average number of words per document, without stop words.
        language: The name of a PyStemmer algorithm (``"porter"``, ``"german"``, …), or ``"none"`` for no stemming.
            Words are runs of letters and digits, so the language must separate them with spaces. Very long words are
            left out.
        k1: Term-frequency saturation: the larger, the later a word's count saturates.
        b: The strength of document-length normalisation, from 0 to 1.

    Raises:
        MissingPackageError: If PyStemmer is not installed.
        SettingError: If the language is unknown, or a setting is out of range.

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
            raise SettingError(f"k1 must be at least 0 and b must be from 0 to 1, not {k1!r} and {b!r}")
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
        """Counts the words of a collection in one pass. Only the vocabulary is held in memory.

        Args:
            documents: Dictionaries with the text under ``text_field``. ``None`` and empty strings have no words.
            text_field: The key of the text.
            language: As for the class.
            k1: As for the class.
            b: As for the class.

        Raises:
            DataError: If no document contains a word.
            MissingPackageError: If PyStemmer is not installed.
            SettingError: If the language is unknown, or a setting is out of range.
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
            raise DataError("there are no words to count: there are no documents, or all of them are empty")
        return cls(df, n_docs, length / n_docs, language=language, k1=k1, b=b)

    def __len__(self) -> int:
        """Returns the number of distinct stems."""
        return len(self.stems)

    def idf(self) -> NDArray[np.float32]:
        """Returns the idf of each stem, ``ln((N + 1) / (df + 0.5))``, in the order of ``stems``."""
        return idf_of(self.df, self.n_docs).astype(np.float32)

    def documents(self, texts: Sequence[str | None]) -> ConceptVectors:
        """Returns the words of documents with their saturated counts; a word's number is the index of its stem."""
        return ConceptVectors.from_rows(self._document(self._stems(text)) for text in texts)

    def queries(self, texts: Sequence[str | None]) -> ConceptVectors:
        """Returns the words of queries with their counts; words that the collection does not contain are left out."""
        return ConceptVectors.from_rows(self._row(self._stems(text)) for text in texts)

    def to_dict(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, in a form that JSON can store."""
        return {"df": dict(zip(self.stems, self.df.tolist(), strict=True)), **self._settings()}

    @cached_property
    def digest(self) -> str:
        """A hexadecimal digest of the vocabulary and the settings, which identifies the vectors of documents."""
        return sha256(json.dumps([self.stems, self._settings()]).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        """Compares the counts and settings."""
        return isinstance(other, Words) and self.digest == other.digest and np.array_equal(self.df, other.df)

    def __hash__(self) -> int:
        """Is consistent with ``==``."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """Returns a summary with the numbers of words and documents."""
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
    # Porter's stemmer reduces a lone "s", which remains of a possessive, to the empty string.
    return [stemmed for stemmed in (stem(words) if stem else words) if 0 < len(stemmed.encode()) <= _LONGEST]


@lru_cache
def find_stemmer(language: str) -> Any:
    """Returns a function that stems a list of words, or ``None`` for the language ``"none"``.

    Raises:
        MissingPackageError: If PyStemmer is not installed.
        SettingError: If the language is unknown.
    """
    if language == "none":
        return None
    try:
        import Stemmer
    except ImportError as error:
        raise MissingPackageError("stemming needs PyStemmer: pip install 'pyterrier_saesplade[words]'") from error
    try:
        return Stemmer.Stemmer(language).stemWords
    except KeyError:
        known = ", ".join(Stemmer.algorithms())
        raise SettingError(f"there is no stemmer for {language!r}: use one of {known}, or 'none'") from None
