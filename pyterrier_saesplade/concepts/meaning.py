"""How latents represent synonyms, ambiguous words and translations, measured on annotated data.

Each analysis compares models by their concept vectors, and by the dense states of their backbones, averaged over the
tokens. The difference shows how much of the backbone's information the sparse head keeps. The latents of a SPLADE model
are word pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse, stats

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import numbered_lines

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from pyterrier_saesplade.saesplade import SaeSplade

Span = tuple[int, int]
Models = Mapping[str, "SaeSplade"]


class WordVectors(NamedTuple):
    """The vectors of words in context.

    Attributes:
        concepts: ``[n, M]``, the concept vector of the tokens of each word.
        states: ``[n, d]``, the mean state of these tokens.
    """

    concepts: sparse.csr_array
    states: NDArray[np.float32]


def word_vectors(model: SaeSplade, texts: Sequence[str], spans: Sequence[Span] | None = None) -> WordVectors:
    """Encodes one word of each text in its context.

    Args:
        model: The model.
        texts: The texts, which are encoded as documents.
        spans: The start and end of each word, in characters; ``None`` for all tokens, including special ones.

    Returns:
        One row per text. The vector of a word that is empty, or in the truncated part of its text, is zero.

    Raises:
        DataError: If the numbers of spans and texts differ, or a span is outside its text.

    Examples:
        >>> bank = word_vectors(model, ["the bank of the river"], spans=[(4, 8)])
        >>> bank.concepts.shape == (1, model.width)
        True
    """
    if spans is not None:
        if len(spans) != len(texts):
            raise DataError(f"{len(spans)} spans were given for {len(texts)} texts: give one per text")
        for text, (start, end) in zip(texts, spans, strict=True):
            if not 0 <= start < end <= len(text):
                raise DataError(f"the span {start} to {end} is outside {text[:60]!r}, which has {len(text)} characters")
    latents, weights, bounds, states = [], [], [0], []
    for i, (tokens, encoded) in enumerate(zip(model.tokens(texts), model.encode_tokens(texts), strict=True)):
        rows = np.arange(len(tokens)) if spans is None else _overlapping(tokens, spans[i])
        vectors = encoded.vectors.take(rows)
        active, entries = np.unique(vectors.latents, return_inverse=True)
        strongest = np.zeros(len(active))
        np.maximum.at(strongest, entries, vectors.weights)
        latents.append(active)
        weights.append(strongest)
        bounds.append(bounds[-1] + len(active))
        states.append(encoded.states[rows].mean(axis=0) if len(rows) else np.zeros(encoded.states.shape[1]))
    concepts = (np.concatenate(weights), np.concatenate(latents), bounds)
    return WordVectors(sparse.csr_array(concepts, shape=(len(texts), model.width)), np.stack(states, dtype=np.float32))


def synonymy(models: Models, data: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compares the similarity of words, each encoded on its own, with human judgements.

    Args:
        models: The models, by their names in the table.
        data: Pairs of words, by the name of the dataset: frames of ``first``, ``second`` and ``score``, as returned by
            :func:`read_word_pairs`.

    Returns:
        One row per model, kind of vector and dataset. ``spearman`` is the rank correlation of the scores with the
        cosines, and ``jaccard`` with the weighted Jaccard similarities (missing for dense states, which have negative
        values).

    Examples:
        >>> pairs = pd.DataFrame({"first": ["cat", "cat"], "second": ["kitten", "bank"], "score": [9.0, 1.0]})
        >>> synonymy({"mine": model}, {"pairs": pairs})["vectors"].tolist()
        ['latents', 'states']
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
    """Measures whether a word activates different latents in different senses.

    Two occurrences of a word are classified as having the same sense if the similarity of their vectors, each in its
    sentence, reaches a threshold. The threshold is learned from ``training`` only.

    Args:
        models: The models, by their names in the table.
        training: Pairs of occurrences, as returned by :func:`read_occurrences`.
        test: Other pairs, on which the models are evaluated.

    Returns:
        One row per model, kind of vector and similarity. The columns are ``threshold``, ``training`` (the accuracy on
        the training pairs), ``accuracy``, and ``auc`` (the probability that a pair with the same sense is more similar
        than a pair with different senses).

    Examples:
        >>> sentences = ["the river bank", "a bank loan", "the bank of a river"]
        >>> pairs = pd.DataFrame(
        ...     {
        ...         "sentence1": [sentences[0], sentences[0]],
        ...         "start1": 10,
        ...         "end1": 14,
        ...         "sentence2": [sentences[1], sentences[2]],
        ...         "start2": [2, 4],
        ...         "end2": [6, 8],
        ...         "same": [False, True],
        ...     }
        ... )
        >>> polysemy({"mine": model}, pairs, pairs)["similarity"].tolist()
        ['cosine', 'jaccard', 'cosine']
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
        models: The models, by their names in the table.
        data: Translated texts, by the name of the dataset: frames of ``text`` and ``translation``, as returned by
            :func:`read_translations`.

    Returns:
        One row per model, kind of vector and dataset. ``common`` is the average share of the latents of a text or its
        translation that are active in both. ``by_chance`` is the same for each text and the translation of the next
        one. ``found`` is the share of texts for which their own translation has the highest cosine of all. For dense
        states, only ``found`` is defined.

    Examples:
        >>> pairs = pd.DataFrame({"text": ["a cat", "a bank"], "translation": ["eine Katze", "eine Bank"]})
        >>> alignment({"mine": model}, {"pairs": pairs})["pairs"].tolist()
        [2, 2]
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
    r"""Reads pairs of words with human similarity scores, from lines of ``word<TAB>word<TAB>score``.

    Returns:
        A frame of ``first``, ``second`` and ``score``.

    Raises:
        DataError: If a line has another form, or there are no lines.

    Examples:
        >>> _ = Path("pairs.tsv").write_text("cat\tkitten\t9.0\n")
        >>> read_word_pairs("pairs.tsv")
          first  second  score
        0   cat  kitten    9.0
    """
    rows = []
    for where, columns in _rows(Path(path), 3):
        try:
            rows.append((columns[0], columns[1], float(columns[2])))
        except ValueError:
            raise DataError(f"{where}: the third column must be a number, not {columns[2]!r}") from None
    return _frame(path, rows, ["first", "second", "score"])


def read_occurrences(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads word-in-context pairs in the format of MCL-WiC (SemEval-2021, task 2), as JSON lines.

    Returns:
        A frame of ``lemma``, ``sentence1``, ``start1``, ``end1``, ``sentence2``, ``start2``, ``end2``, and ``same``,
        which says whether the word has the same sense in both sentences.

    Raises:
        DataError: If a line has another form, or there are no lines.
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
            raise DataError(f"{where}: not a pair in the format of MCL-WiC: {error!r}") from error
    columns = ["lemma", "sentence1", "start1", "end1", "sentence2", "start2", "end2", "same"]
    return _frame(path, rows, columns)


def read_translations(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Reads translated sentences, from lines of ``sentence<TAB>translation``.

    Returns:
        A frame of ``text`` and ``translation``.

    Raises:
        DataError: If a line has another form, or there are no lines.

    Examples:
        >>> _ = Path("pairs.tsv").write_text("a cat\teine Katze")
        >>> read_translations("pairs.tsv").loc[0].tolist()
        ['a cat', 'eine Katze']
    """
    rows = [tuple(columns) for _, columns in _rows(Path(path), 2)]
    return _frame(path, rows, ["text", "translation"])


def _span(record: Mapping[str, Any], side: int) -> Span:
    """Reads the span of a word: ``start1`` and ``end1`` or, in cross-lingual data, the first of ``ranges1``."""
    if f"ranges{side}" in record:
        start, end = record[f"ranges{side}"].split(",")[0].split("-")
        return int(start), int(end)
    return int(record[f"start{side}"]), int(record[f"end{side}"])


def _rows(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    for where, line in numbered_lines(path):
        row = line.decode().rstrip("\r\n").split("\t")
        if len(row) != columns:
            raise DataError(f"{where}: expected {columns} tab-separated columns, found {len(row)}")
        yield where, row


def _frame(path: str | os.PathLike[str], rows: list[Any], columns: list[str]) -> pd.DataFrame:
    if not rows:
        raise DataError(f"{path} is empty")
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
    """Yields each kind of vector, and the similarities of the rows of ``first`` and ``second``, pair by pair."""
    yield (
        _kind(model),
        {
            "cosine": _paired(_unit_rows(first.concepts), _unit_rows(second.concepts)),
            "jaccard": _jaccard(first.concepts, second.concepts),
        },
    )
    yield "states", {"cosine": _paired(_unit_rows(first.states), _unit_rows(second.states))}


def _unit_rows(rows: Any) -> Any:
    """Scales sparse or dense rows to unit length; zero rows stay zero."""
    norms = np.sqrt(np.asarray((rows * rows).sum(axis=1), np.float64))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return rows * sparse.csr_array(scale[:, None]) if sparse.issparse(rows) else rows * scale[:, None]


def _paired(first: Any, second: Any) -> NDArray[np.float64]:
    return np.asarray((first * second).sum(axis=1), np.float64)


def _jaccard(first: sparse.csr_array, second: sparse.csr_array) -> NDArray[np.float64]:
    """Returns the weighted Jaccard similarity of pairs of rows: the sum of minima divided by the sum of maxima."""
    shared, either = (np.asarray(both.sum(axis=1)) for both in (first.minimum(second), first.maximum(second)))
    return np.divide(shared, either, out=np.zeros(len(either)), where=either > 0)


# ------------------------------------------------------------------ statistics


def _spearman(values: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    return float(stats.spearmanr(values, scores).statistic)


def _threshold(values: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Returns the threshold with the highest accuracy: pairs at least that similar are said to have the same sense.

    Examples:
        >>> _threshold(np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, False, True]))
        0.7
    """
    order = np.argsort(-values, kind="stable")
    right = np.cumsum(np.where(same[order], 1, -1))
    # Pairs with equal similarities fall on the same side of a threshold, so only the last of them is a candidate.
    last = np.append(np.diff(values[order]) != 0, True)
    return float(values[order][last][np.argmax(right[last])])


def _accuracy(values: NDArray[np.float64], pairs: pd.DataFrame, threshold: float) -> float:
    return float(((values >= threshold) == pairs["same"].to_numpy()).mean())


def _auc(values: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    pairs = np.count_nonzero(same) * np.count_nonzero(~same)
    return float(stats.mannwhitneyu(values[same], values[~same]).statistic / pairs) if pairs else float("nan")


def _common(first: sparse.csr_array, second: sparse.csr_array) -> float:
    """Returns the average share of common latents between pairs of boolean rows."""
    common = np.asarray((first * second).sum(axis=1), np.float64)
    either = np.asarray(first.sum(axis=1), np.float64) + np.asarray(second.sum(axis=1)) - common
    return float(np.divide(common, either, out=np.zeros_like(either), where=either > 0).mean())


def _found(similarities: Any) -> float:
    """Returns the share of rows of a square matrix with the maximum on the diagonal."""
    dense = similarities if isinstance(similarities, np.ndarray) else similarities.toarray()
    return float((dense.argmax(axis=1) == np.arange(len(dense))).mean())
