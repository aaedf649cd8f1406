"""The languages whose words are told apart and stemmed, for the systems that match words."""

from __future__ import annotations

from typing import NamedTuple

from pyterrier_saesplade.errors import SettingError


class Language(NamedTuple):
    """How words of a language are stemmed.

    Attributes:
        terrier: By a class of Terrier's; ``None``: not at all.
        words: By :class:`~pyterrier_saesplade.impacts.words.Words`: a name of PyStemmer's, or ``"none"``.
    """

    terrier: str | None
    words: str


#: By the codes of ir_datasets, in which dt is mMARCO's Dutch. Languages that write words together (Chinese, Japanese,
#: Thai) are missing, and those whose vowel signs are no letters to a regular expression (Bengali, Hindi, Telugu).
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
    """Returns how words of a language are stemmed.

    Args:
        code: Two letters.

    Raises:
        ValueError: If words of that language are not told apart here.

    Examples:
        >>> language_of("de")
        Language(terrier='GermanSnowballStemmer', words='german')
    """
    if code not in _LANGUAGES:
        raise SettingError(
            f"words of the language {code!r} are not told apart here: give two letters, of {', '.join(_LANGUAGES)}, or "
            "leave out the systems that match words or re-rank what bm25 found, such as with --baseline dense"
        )
    return _LANGUAGES[code]
