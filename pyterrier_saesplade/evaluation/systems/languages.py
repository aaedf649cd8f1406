"""The languages that are tokenised and stemmed, for the systems that match words."""

from __future__ import annotations

from typing import NamedTuple

from pyterrier_saesplade.errors import SettingError


class Language(NamedTuple):
    """How the words of a language are stemmed.

    Attributes:
        terrier: The class that stems in Terrier; ``None`` for no stemming.
        words: The stemmer that :class:`~pyterrier_saesplade.impacts.words.Words` takes: a name of PyStemmer, or
            ``"none"``.
    """

    terrier: str | None
    words: str


#: The keys are the codes of ir_datasets, where dt is the Dutch of mMARCO. Languages written without spaces (Chinese,
#: Japanese, Thai) are missing, and so are those whose vowel signs are not letters to a regular expression (Bengali,
#: Hindi, Telugu).
_LANGUAGES = {
    "ar": Language(None, "arabic"),
    "da": Language("DanishSnowballStemmer", "danish"),
    "de": Language("GermanSnowballStemmer", "german"),
    "dt": Language("DutchSnowballStemmer", "dutch"),
    "el": Language(None, "greek"),
    "en": Language("PorterStemmer", "porter"),
    "es": Language("SpanishSnowballStemmer", "spanish"),
    "fa": Language(None, "none"),
    "fi": Language("FinnishSnowballStemmer", "finnish"),
    "fr": Language("FrenchSnowballStemmer", "french"),
    "hu": Language("HungarianSnowballStemmer", "hungarian"),
    "id": Language(None, "indonesian"),
    "it": Language("ItalianSnowballStemmer", "italian"),
    "ko": Language(None, "none"),
    "nl": Language("DutchSnowballStemmer", "dutch"),
    "no": Language("NorwegianSnowballStemmer", "norwegian"),
    "pt": Language("PortugueseSnowballStemmer", "portuguese"),
    "ro": Language("RomanianSnowballStemmer", "romanian"),
    "ru": Language("RussianSnowballStemmer", "russian"),
    "sv": Language("SwedishSnowballStemmer", "swedish"),
    "sw": Language(None, "none"),
    "tr": Language("TurkishSnowballStemmer", "turkish"),
    "vi": Language(None, "none"),
    "yo": Language(None, "none"),
}


def language_of(code: str) -> Language:
    """Returns how the words of a language are stemmed.

    Args:
        code: The two letters of the language.

    Raises:
        SettingError: If the language is not supported.

    Examples:
        >>> language_of("de")
        Language(terrier='GermanSnowballStemmer', words='german')
    """
    if code not in _LANGUAGES:
        raise SettingError(
            f"the language {code!r} is not supported by systems that match words: give one of {', '.join(_LANGUAGES)}, "
            "or leave out these systems and those that rerank the results of bm25, for example with --baseline dense"
        )
    return _LANGUAGES[code]
