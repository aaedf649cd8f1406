"""Between PyTerrier's dictionaries of pseudo-terms (``toks``, ``query_toks``) and arrays of latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pyterrier_saesplade.errors import AlreadyQuantizedError, DataError
from pyterrier_saesplade.impacts.terms import Terms
from pyterrier_saesplade.vectors import ConceptVectors

#: Where a frame of ``query_toks`` says which model encoded it (``DataFrame.attrs``).
FINGERPRINT = "saesplade_fingerprint"


def to_toks(vectors: ConceptVectors, terms: Terms) -> list[dict[str, float]]:
    """Returns one dictionary per text, from pseudo-term to weight: Python floats, or integers once quantised."""
    bounds = vectors.indptr.tolist()
    names = [terms.name(latent) for latent in vectors.latents.tolist()]
    weights = vectors.weights.tolist()
    return [dict(zip(names[start:end], weights[start:end], strict=True)) for start, end in itertools.pairwise(bounds)]


def from_toks(toks: Iterable[Mapping[str, float]], terms: Terms) -> ConceptVectors:
    """Returns the float concept vectors of dictionaries; pseudo-terms that ``terms`` does not know are left out."""
    return ConceptVectors.from_rows(_row(text, terms) for text in toks)


def from_float_toks(column: Iterable[object], terms: Terms) -> ConceptVectors:
    """Like :func:`from_toks`, of a column whose weights must not have been quantised; what is missing is empty.

    Raises:
        AlreadyQuantizedError: If a text's weights are integers.
        ValueError: If something is neither a dictionary nor missing.
    """
    toks = as_toks(column)
    if any(map(are_impacts, toks)):
        raise AlreadyQuantizedError
    return from_toks(toks, terms)


def are_impacts(toks: Mapping[str, float]) -> bool:
    """Tells whether a text's weights are integers, that is, were quantised. An empty text's are not."""
    return len(toks) > 0 and all(isinstance(weight, int | np.integer) for weight in toks.values())


def as_texts(column: Iterable[object]) -> list[str | None]:
    """Returns texts; what is missing (``None``, NaN) becomes ``None``.

    Raises:
        ValueError: If something else is no string.
    """
    return [_checked(text, str, "a text must be a string") for text in column]


def as_toks(column: Iterable[object]) -> list[Mapping[str, float]]:
    """Returns dictionaries of pseudo-terms; what is missing (``None``, NaN) becomes an empty one.

    Raises:
        ValueError: If something else is no dictionary.
    """
    return [_checked(toks, Mapping, "pseudo-terms must be a dictionary of weights") or {} for toks in column]


def _checked(value: object, kind: type, requirement: str) -> Any:
    if isinstance(value, kind):
        return value
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):  # NaN: joins leave it
        return None
    raise DataError(f"{requirement}, not {type(value).__name__}: {value!r}")


def _row(toks: Mapping[str, float], terms: Terms) -> tuple[list[int], list[float]]:
    known = sorted((latent, weight) for name, weight in toks.items() if (latent := terms.latent(name)) is not None)
    return [latent for latent, _ in known], [weight for _, weight in known]
