"""Queries made from the documents themselves, for collections that have none."""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.files import atomic_write, require_new
from pyterrier_saesplade.impacts import idf_of

Kind = Literal["titles", "sentences", "keywords", "spans"]

_WORD = re.compile(r"\w+(?:['-]\w+)*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
#: Words of a span, of a sentence, and of a list of keywords, at least and at most.
_SPAN, _SENTENCE_WORDS, _KEYWORDS = (5, 14), (4, 30), (3, 8)


def pseudo_queries(
    documents: Iterable[Mapping[str, str]],
    count: int,
    *,
    kinds: Sequence[Kind] = ("titles", "keywords"),
    seed: int = 42,
) -> pd.DataFrame:
    """Makes queries from documents that are drawn at random.

    Args:
        documents: ``docno``, ``text`` and, if there is one, ``title``; read once and held in memory.
        count: How many queries.
        kinds: What they are, in turn: ``"titles"`` (of a document without one its first sentence), ``"sentences"``
            (one at random), ``"keywords"`` (words that are rare in the collection and frequent in the document, in its
            order), ``"spans"`` (5 to 14 words in a row, drawn by their idf).
        seed: Of everything random.

    Returns:
        A frame of ``qid``, ``query``, and ``made_from``, the docno of the document.

    Raises:
        ValueError: If a kind is unknown, or no document has enough words.

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
        raise SettingError("no document has enough words to make a query of")
    idf = _idf(document["text"] for document in held)
    generator = np.random.default_rng(seed)
    rows: list[tuple[str, str, str]] = []
    order: Iterator[int] = _endless(len(held), generator)
    empty = 0  # in a row
    while len(rows) < count:
        if empty == len(held):
            raise SettingError(f"no document has what a query of the kind {kinds[len(rows) % len(kinds)]} is made of")
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
    """Writes :func:`pseudo_queries` to a file of ``qid<TAB>query`` lines.

    Raises:
        FileExistsError: If the file exists and ``overwrite`` is false.
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
    """Returns the words with the largest tf-idf, in the order in which they first occur."""
    frequencies = Counter(word.lower() for word in words)
    weight = {word: (1 + math.log(tf)) * idf[word] for word, tf in frequencies.items() if len(word) > 2}
    best = set(sorted(weight, key=lambda word: -weight[word])[:count])
    return [word for word in dict.fromkeys(word.lower() for word in words) if word in best]


def _shortened(sentence: str) -> str:
    return " ".join(sentence.split()[: _SENTENCE_WORDS[1]])
