"""Queries made from documents, for collections without queries."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import idf_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Kind = Literal["titles", "sentences", "keywords", "spans"]

_WORD = re.compile(r"\w+(?:['-]\w+)*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
#: Minimum and maximum number of words of a span, a sentence and a list of keywords.
_SPAN, _SENTENCE_WORDS, _KEYWORDS = (5, 14), (4, 30), (3, 8)


def pseudo_queries(
    documents: Iterable[Mapping[str, str]],
    count: int,
    *,
    kinds: Sequence[Kind] = ("titles", "keywords"),
    seed: int = 42,
) -> pd.DataFrame:
    """Makes queries from randomly drawn documents.

    Args:
        documents: Dictionaries with ``docno``, ``text`` and optionally ``title``. They are read once and held in
            memory.
        count: Number of queries.
        kinds: The kinds of queries, which take turns. ``"titles"``: the document's title, or its first sentence if it
            has no title. ``"sentences"``: a random sentence. ``"keywords"``: words that are rare in the collection and
            frequent in the document, in the document's order. ``"spans"``: 5 to 14 consecutive words; spans with rare
            words are more likely.
        seed: Seed of all random choices.

    Returns:
        A frame with the columns ``qid``, ``query`` and ``made_from``, the docno of the document.

    Raises:
        SettingError: If a kind is unknown, or there are no kinds.
        DataError: If no document has enough words.

    Examples:
        >>> pseudo_queries(documents, 2, kinds=["titles"])
                qid                                           query made_from
        0  titles-0  The river bank was covered with reeds and mud.        d1
        1  titles-1  The central bank controls the supply of money.        d8
    """
    unknown = [kind for kind in kinds if kind not in get_args(Kind)]
    if unknown or not kinds:
        raise SettingError(f"kinds must be some of {', '.join(get_args(Kind))}, not {unknown or 'none'}")
    held = [document for document in documents if len(_WORD.findall(document["text"])) >= _SPAN[0]]
    if not held:
        raise DataError("no document has enough words to make a query from")
    idf = _idf(document["text"] for document in held)
    generator = np.random.default_rng(seed)
    rows: list[tuple[str, str, str]] = []
    order: Iterator[int] = _endless(len(held), generator)
    empty = 0  # consecutive documents that gave no query
    while len(rows) < count:
        if empty == len(held):
            raise DataError(f"no document yields a query of the kind {kinds[len(rows) % len(kinds)]}")
        document = held[next(order)]
        kind = kinds[len(rows) % len(kinds)]
        query = _make(kind, document, idf, generator)
        empty = 0 if query else empty + 1
        if query:
            rows.append((f"{kind}-{len(rows)}", query, document["docno"]))
    return pd.DataFrame(rows, columns=["qid", "query", "made_from"])


def write_pseudo_queries(
    documents: Iterable[Mapping[str, str]],
    out: str | os.PathLike[str],
    count: int,
    *,
    kinds: Sequence[Kind] = ("titles", "keywords"),
    seed: int = 42,
    overwrite: bool = False,
) -> Path:
    """Writes the queries of :func:`pseudo_queries` to a file of ``qid<TAB>query`` lines.

    Args:
        documents: As for :func:`pseudo_queries`.
        out: The file to write.
        count: As for :func:`pseudo_queries`.
        kinds: As for :func:`pseudo_queries`.
        seed: As for :func:`pseudo_queries`.
        overwrite: Whether to replace an existing file.

    Returns:
        ``out``.

    Raises:
        PathExistsError: If the file exists and ``overwrite`` is false.
        SettingError: As for :func:`pseudo_queries`.
        DataError: As for :func:`pseudo_queries`.

    Examples:
        >>> written = write_pseudo_queries(documents, "pseudo.tsv", 2, kinds=["titles"])
        >>> written.read_text().split()[:4]
        ['titles-0', 'The', 'river', 'bank']
    """
    out = Path(out)
    require_new(out, overwrite=overwrite)
    made = pseudo_queries(documents, count, kinds=kinds, seed=seed)
    with atomic_write(out) as partial:
        made[["qid", "query"]].to_csv(partial, sep="\t", header=False, index=False, quoting=csv.QUOTE_NONE)
    return out


def _endless(size: int, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from generator.permutation(size).tolist()


def _idf(texts: Iterable[str]) -> dict[str, float]:
    df: Counter[str] = Counter()
    n_docs = 0
    for text in texts:
        df.update({word.lower() for word in _WORD.findall(text)})
        n_docs += 1
    return dict(zip(df, idf_of(np.array(list(df.values())), n_docs).tolist(), strict=True))


def _make(kind: Kind, document: Mapping[str, str], idf: Mapping[str, float], generator: np.random.Generator) -> str:
    text = document["text"]
    if kind == "titles":
        return " ".join((document.get("title") or "").split()) or _shortened(_SENTENCE.split(text)[0])
    if kind == "sentences":
        sentences = [s for s in _SENTENCE.split(text) if len(_WORD.findall(s)) >= _SENTENCE_WORDS[0]] or [text]
        return _shortened(sentences[generator.integers(len(sentences))])
    words = _WORD.findall(text)
    if kind == "keywords":
        return " ".join(_keywords(words, idf, int(generator.integers(_KEYWORDS[0], _KEYWORDS[1] + 1))))
    length = min(len(words), int(generator.integers(_SPAN[0], _SPAN[1] + 1)))
    weights = np.convolve([idf[word.lower()] for word in words], np.ones(length), "valid") ** 2
    start = int(generator.choice(len(weights), p=weights / weights.sum()))
    return " ".join(words[start : start + length])


def _keywords(words: Sequence[str], idf: Mapping[str, float], count: int) -> list[str]:
    """Returns the words with the highest tf-idf, in order of their first occurrence."""
    frequencies = Counter(word.lower() for word in words)
    weight = {word: (1 + math.log(tf)) * idf[word] for word, tf in frequencies.items() if len(word) > 2}
    best = set(sorted(weight, key=lambda word: -weight[word])[:count])
    return [word for word in dict.fromkeys(word.lower() for word in words) if word in best]


def _shortened(sentence: str) -> str:
    return " ".join(sentence.split()[: _SENTENCE_WORDS[1]])
