"""What latents make of synonyms, of ambiguous words and of translations, measured on judged data.

Each analysis compares models by their concept vectors, and by the dense states (mean over the tokens) of the same
backbones, which say how much of what the backbone knows the sparse head keeps. A SPLADE model's latents are word
pieces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, stats

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import numbered_lines

if TYPE_CHECKING:
    from pyterrier_saesplade.saesplade import SaeSplade

Span = tuple[int, int]
Models = Mapping[str, "SaeSplade"]


class WordVectors(NamedTuple):
    """Words in their contexts.

    Attributes:
        concepts: ``[n, M]``, the concept vector of the word's own tokens.
        states: ``[n, d]``, the mean of their states.
    """

    concepts: sparse.csr_array
    states: NDArray[np.float32]


def word_vectors(model: SaeSplade, texts: Sequence[str], spans: Sequence[Span] | None = None) -> WordVectors:
    """Encodes a word of each text, in its context.

    Args:
        model: The model.
        texts: The texts, read as documents.
        spans: Where the words are, in characters: from, to. ``None``: all tokens, special ones too.

    Returns:
        One row per text. A word that was cut off, or is empty, has a vector of zeros.

    Raises:
        ValueError: If there are not as many spans as texts, or one is not in its text.

    Examples:
        >>> bank = word_vectors(model, ["the bank of the river"], spans=[(4, 8)])
        >>> bank.concepts.shape == (1, model.width)
        True
    """
    if spans is not None:
        if len(spans) != len(texts):
            raise DataError(f"{len(spans)} spans were given for {len(texts)} texts")
        for text, (start, end) in zip(texts, spans, strict=True):
            if not 0 <= start < end <= len(text):
                raise DataError(f"there is no word from {start} to {end} in {text[:60]!r}, of {len(text)} characters")
    latents, weights, bounds, states = [], [], [0], []
    for i, (tokens, encoded) in enumerate(zip(model.tokens(texts), model.encode_tokens(texts), strict=True)):
        rows = np.arange(len(tokens)) if spans is None else _overlapping(tokens, spans[i])
        vectors = encoded.vectors.take(rows)
        of_word, place = np.unique(vectors.latents, return_inverse=True)
        strongest = np.zeros(len(of_word))
        np.maximum.at(strongest, place, vectors.weights)
        latents.append(of_word)
        weights.append(strongest)
        bounds.append(bounds[-1] + len(of_word))
        states.append(encoded.states[rows].mean(axis=0) if len(rows) else np.zeros(encoded.states.shape[1]))
    concepts = (np.concatenate(weights), np.concatenate(latents), bounds)
    return WordVectors(sparse.csr_array(concepts, shape=(len(texts), model.width)), np.stack(states, dtype=np.float32))


def synonymy(models: Models, data: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compares the similarity of words, each encoded alone, with that which people see.

    Args:
        models: By the name that the table has.
        data: By name, pairs of words: ``first``, ``second``, ``score``, as :func:`read_word_pairs` reads them.

    Returns:
        One row per model, kind of vector and data set: ``spearman``, the correlation of the cosines with the scores,
        and ``jaccard``, that of the weighted Jaccard similarities (not of dense states, which have negative values).
    """
    rows = []
    for name, model in models.items():
        for data_name, pairs in data.items():
            first, second = (_words_alone(model, pairs[column]) for column in ("first", "second"))
            scores = pairs["score"].to_numpy()
            rows += [
                {
                    "model": name,
                    "vectors": kind,
                    "data": data_name,
                    "pairs": len(pairs),
                    **{measure: _spearman(values, scores) for measure, values in similarities.items()},
                }
                for kind, similarities in _similarities(model, first, second)
            ]
    return pd.DataFrame(rows).rename(columns={"cosine": "spearman"})


def polysemy(models: Models, training: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Measures whether a word lights other latents when its sense is another.

    Two occurrences have the same sense if the similarity of their vectors, each in its sentence, is large enough; how
    large that is, is learned from ``training`` alone.

    Args:
        models: By the name that the table has.
        training: Pairs of occurrences, as :func:`read_occurrences` reads them.
        test: Others, which the table is about.

    Returns:
        One row per model, kind of vector and similarity: ``threshold``, ``training`` (accuracy), ``accuracy`` and
        ``auc``, the probability that a pair of one sense is more similar than one of two.
    """
    rows = []
    for name, model in models.items():
        learned, measured = (
            dict(_similarities(model, *(_occurrences(model, pairs, side) for side in (1, 2))))
            for pairs in (training, test)
        )
        for kind, similarities in measured.items():
            for measure, values in similarities.items():
                threshold = _threshold(learned[kind][measure], training["same"].to_numpy())
                rows.append(
                    {
                        "model": name,
                        "vectors": kind,
                        "similarity": measure,
                        "threshold": threshold,
                        "training": _accuracy(learned[kind][measure], training, threshold),
                        "accuracy": _accuracy(values, test, threshold),
                        "auc": _auc(values, test["same"].to_numpy()),
                    }
                )
    return pd.DataFrame(rows)


def alignment(models: Models, data: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compares texts with their translations.

    Args:
        models: By the name that the table has.
        data: By name, translated texts: ``text``, ``translation``, as :func:`read_translations` reads them.

    Returns:
        One row per model, kind of vector and data set: ``common``, the mean share of common latents (of those that
        either text has) between translations, ``by_chance``, the same between each text and the next one's
        translation, and ``found``, the share of texts whose translation is, by cosine, the most similar of all. Dense
        states have no latents: only ``found``.
    """
    rows = []
    for name, model in models.items():
        for data_name, pairs in data.items():
            texts, translations = (word_vectors(model, pairs[column].tolist()) for column in ("text", "translation"))
            sets, others = texts.concepts > 0, translations.concepts > 0
            figures = {
                _kind(model): {
                    "common": _common(sets, others),
                    "by_chance": _common(sets, others[np.roll(np.arange(len(pairs)), -1)]),
                    "found": _found(_unit_rows(texts.concepts) @ _unit_rows(translations.concepts).T),
                },
                "states": {"found": _found(_unit_rows(texts.states) @ _unit_rows(translations.states).T)},
            }
            rows += [
                {"model": name, "vectors": kind, "data": data_name, "pairs": len(pairs), **values}
                for kind, values in figures.items()
            ]
    return pd.DataFrame(rows, columns=["model", "vectors", "data", "pairs", "common", "by_chance", "found"])


# ------------------------------------------------------------------ data


def read_word_pairs(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads pairs of words with human scores of similarity: ``word<TAB>word<TAB>score`` lines.

    Returns:
        A frame of ``first``, ``second`` and ``score``.

    Raises:
        ValueError: If a line is something else, or there is none.
    """
    rows = []
    for where, columns in _rows(Path(path), 3):
        try:
            rows.append((columns[0], columns[1], float(columns[2])))
        except ValueError:
            raise DataError(f"{where}: the third column must be a number, found {columns[2]!r}") from None
    return _frame(path, rows, ["first", "second", "score"])


def read_occurrences(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads word-in-context pairs in the format of MCL-WiC (SemEval-2021, task 2): JSON lines.

    Returns:
        A frame of ``lemma``, ``sentence1``, ``start1``, ``end1``, ``sentence2``, ``start2``, ``end2``, and ``same``,
        whether the word has one sense in both sentences.

    Raises:
        ValueError: If a line is something else, or there is none.
    """
    rows = []
    for where, line in numbered_lines(Path(path)):
        try:
            record = json.loads(line)
            spans = [_span(record, side) for side in (1, 2)]
            sentences = record["sentence1"], record["sentence2"]
            rows.append(
                (
                    record["lemma"],
                    sentences[0],
                    *spans[0],
                    sentences[1],
                    *spans[1],
                    {"T": True, "F": False}[record["tag"]],
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{where}: not a pair of MCL-WiC: {error!r}") from error
    columns = ["lemma", "sentence1", "start1", "end1", "sentence2", "start2", "end2", "same"]
    return _frame(path, rows, columns)


def read_translations(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads translated sentences: ``sentence<TAB>translation`` lines.

    Returns:
        A frame of ``text`` and ``translation``.

    Raises:
        ValueError: If a line is something else, or there is none.
    """
    rows = [tuple(columns) for _, columns in _rows(Path(path), 2)]
    return _frame(path, rows, ["text", "translation"])


def _span(record: Mapping[str, Any], side: int) -> Span:
    """Reads where a word is: ``start1`` and ``end1``, or, across languages, ``ranges1``, of which the first counts."""
    if f"ranges{side}" in record:
        start, end = record[f"ranges{side}"].split(",")[0].split("-")
        return int(start), int(end)
    return int(record[f"start{side}"]), int(record[f"end{side}"])


def _rows(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    for where, line in numbered_lines(path):
        row = line.decode().rstrip("\r\n").split("\t")
        if len(row) != columns:
            raise DataError(f"{where}: expected {columns} columns with tabs between, found {len(row)}")
        yield where, row


def _frame(path: str | os.PathLike[str], rows: list[Any], columns: list[str]) -> pd.DataFrame:
    if not rows:
        raise DataError(f"{path} has no line")
    return pd.DataFrame(rows, columns=columns)


# ------------------------------------------------------------------ vectors and their similarities


def _kind(model: SaeSplade) -> str:
    return "latents" if model.terms.pieces is None else "word pieces"


def _words_alone(model: SaeSplade, words: pd.Series) -> WordVectors:
    return word_vectors(model, words.tolist(), [(0, len(word)) for word in words])


def _occurrences(model: SaeSplade, pairs: pd.DataFrame, side: int) -> WordVectors:
    spans = list(zip(pairs[f"start{side}"].tolist(), pairs[f"end{side}"].tolist(), strict=True))
    return word_vectors(model, pairs[f"sentence{side}"].tolist(), spans)


def _overlapping(tokens: Sequence[Any], span: Span) -> NDArray[np.int64]:
    return np.array([i for i, token in enumerate(tokens) if token.start < span[1] and token.end > span[0]], np.int64)


def _similarities(
    model: SaeSplade, first: WordVectors, second: WordVectors
) -> Iterator[tuple[str, dict[str, NDArray[np.float64]]]]:
    """Yields for each kind of vector the similarities of pairs of rows."""
    yield (
        _kind(model),
        {
            "cosine": _paired(_unit_rows(first.concepts), _unit_rows(second.concepts)),
            "jaccard": _jaccard(first.concepts, second.concepts),
        },
    )
    yield "states", {"cosine": _paired(_unit_rows(first.states), _unit_rows(second.states))}


def _unit_rows(rows: Any) -> Any:
    """Scales rows, sparse or dense, to unit length; zeros stay zeros."""
    norms = np.sqrt(np.asarray((rows * rows).sum(axis=1), np.float64))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return rows * sparse.csr_array(scale[:, None]) if sparse.issparse(rows) else rows * scale[:, None]


def _paired(first: Any, second: Any) -> NDArray[np.float64]:
    return np.asarray((first * second).sum(axis=1), np.float64)


def _jaccard(first: sparse.csr_array, second: sparse.csr_array) -> NDArray[np.float64]:
    """Returns the weighted Jaccard similarity of pairs of rows: the sum of minima over that of maxima."""
    shared, either = (np.asarray(of.sum(axis=1)) for of in (first.minimum(second), first.maximum(second)))
    return np.divide(shared, either, out=np.zeros(len(either)), where=either > 0)


# ------------------------------------------------------------------ figures


def _spearman(values: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    return float(stats.spearmanr(values, scores).statistic)


def _threshold(values: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Returns the similarity from which on two occurrences are best said to have one sense.

    Examples:
        >>> _threshold(np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, False, True]))
        0.7
    """
    order = np.argsort(-values, kind="stable")
    right = np.cumsum(np.where(same[order], 1, -1))
    # Equal similarities are on one side: only the last of each counts.
    last = np.append(np.diff(values[order]) != 0, True)
    return float(values[order][last][np.argmax(right[last])])


def _accuracy(values: NDArray[np.float64], pairs: pd.DataFrame, threshold: float) -> float:
    return float(((values >= threshold) == pairs["same"].to_numpy()).mean())


def _auc(values: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    pairs = np.count_nonzero(same) * np.count_nonzero(~same)
    return float(stats.mannwhitneyu(values[same], values[~same]).statistic / pairs) if pairs else float("nan")


def _common(first: sparse.csr_array, second: sparse.csr_array) -> float:
    """Returns the mean share of common latents, of pairs of rows of true and false."""
    common = np.asarray((first * second).sum(axis=1), np.float64)
    either = np.asarray(first.sum(axis=1), np.float64) + np.asarray(second.sum(axis=1)) - common
    return float(np.divide(common, either, out=np.zeros_like(either), where=either > 0).mean())


def _found(similarities: Any) -> float:
    """Returns the share of rows that are largest on the diagonal of a square."""
    dense = similarities if isinstance(similarities, np.ndarray) else similarities.toarray()
    return float((dense.argmax(axis=1) == np.arange(len(dense))).mean())
