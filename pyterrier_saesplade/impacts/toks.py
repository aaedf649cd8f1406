"""Conversion between PyTerrier's dictionaries of pseudo-terms (``toks``, ``query_toks``) and arrays of latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pyterrier_saesplade.errors import AlreadyQuantizedError, DataError
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    from pyterrier_saesplade.impacts.terms import Terms

#: The key in ``DataFrame.attrs`` under which a frame of ``query_toks`` records the model that encoded it.
FINGERPRINT = "saesplade_fingerprint"


def to_toks(vectors: ConceptVectors, terms: Terms) -> list[dict[str, float]]:
    """Returns one dictionary per text, from pseudo-term to weight: Python floats, or integers after quantisation.

    Examples:
        >>> to_toks(ConceptVectors.from_rows([([3, 7], [0.5, 2.0])]), Terms(8))
        [{'c3': 0.5, 'c7': 2.0}]
    """
    bounds = vectors.indptr.tolist()
    names = [terms.name(latent) for latent in vectors.latents.tolist()]
    weights = vectors.weights.tolist()
    return [dict(zip(names[start:end], weights[start:end], strict=True)) for start, end in itertools.pairwise(bounds)]


def from_toks(toks: Iterable[Mapping[str, float]], terms: Terms) -> ConceptVectors:
    """Returns the concept vectors of dictionaries, with float weights; unknown pseudo-terms are left out.

    Examples:
        >>> from_toks([{"c7": 2.0, "unknown": 1.0}], Terms(8)).row(0)
        (array([7], dtype=int32), array([2.], dtype=float32))
    """
    return ConceptVectors.from_rows(_row(text, terms) for text in toks)


def from_float_toks(column: Iterable[object], terms: Terms) -> ConceptVectors:
    """Converts a column of dictionaries whose weights have not been quantised; missing values become empty vectors.

    Raises:
        AlreadyQuantizedError: If the weights of a text are integers.
        DataError: If a value is neither a dictionary nor missing.
    """
    toks = as_toks(column)
    if any(map(are_impacts, toks)):
        raise AlreadyQuantizedError
    return from_toks(toks, terms)


def are_impacts(toks: Mapping[str, float]) -> bool:
    """Returns whether the weights of a text are integers, that is, have been quantised; false for an empty text.

    Examples:
        >>> are_impacts({"c3": 5}), are_impacts({"c3": 0.5}), are_impacts({})
        (True, False, False)
    """
    return len(toks) > 0 and all(isinstance(weight, int | np.integer) for weight in toks.values())


def as_texts(column: Iterable[object]) -> list[str | None]:
    """Returns a column as strings; missing values (``None``, NaN) become ``None``.

    Raises:
        DataError: If a value is neither a string nor missing.

    Examples:
        >>> as_texts(["a text", float("nan")])
        ['a text', None]
    """
    return [_checked(text, str, "a text must be a string") for text in column]


def as_toks(column: Iterable[object]) -> list[Mapping[str, float]]:
    """Returns a column as dictionaries of pseudo-terms; missing values (``None``, NaN) become empty dictionaries.

    Raises:
        DataError: If a value is neither a dictionary nor missing.

    Examples:
        >>> as_toks([{"c7": 2.0}, None])
        [{'c7': 2.0}, {}]
    """
    return [_checked(toks, Mapping, "pseudo-terms must be a dictionary of weights") or {} for toks in column]


def _checked(value: object, kind: type, requirement: str) -> Any:
    if isinstance(value, kind):
        return value
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):  # NaN, from joins
        return None
    raise DataError(f"{requirement}, not {type(value).__name__}: {value!r}")


def _row(toks: Mapping[str, float], terms: Terms) -> tuple[list[int], list[float]]:
    known = sorted((latent, weight) for name, weight in toks.items() if (latent := terms.latent(name)) is not None)
    return [latent for latent, _ in known], [weight for _, weight in known]
