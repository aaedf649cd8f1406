"""What a comparison reports: effectiveness measures by name, and the cost of scoring. Does not import PyTerrier."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ir_measures
import numpy as np

from pyterrier_saesplade.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike

#: The measures that a comparison reports by default.
DEFAULT_MEASURES = ("nDCG@10", "RR@10", "AP", "R@1000")


def qd_flops(query_df: ArrayLike, n_queries: int, doc_df: ArrayLike, n_docs: int) -> float:
    """Returns the expected number of multiplications to score a query against a document with an inverted index.

    ``QD-FLOPs = Σ_j p_q(j) · p_d(j)``, where ``p(j)`` is the share of queries (documents) in which latent ``j`` is
    active. The measure applies to any bag of terms, including words.

    Args:
        query_df: ``[M]``, the number of queries in which each latent is active.
        n_queries: The number of queries, empty ones included.
        doc_df: ``[M]``, the number of documents in which each latent is active.
        n_docs: The number of documents, empty ones included.

    Returns:
        Multiplications per pair of a query and a document.

    Raises:
        SettingError: If there are no queries or no documents, or the two vocabularies differ in size.

    Examples:
        Latent 0 is active in both of two queries and in one of four documents; latent 2, in one query and in three
        documents. A pair costs 2/2 · 1/4 + 1/2 · 3/4 multiplications:

        >>> qd_flops([2, 0, 1], 2, [1, 4, 3], 4)
        0.625

    References:
        Paria et al., Minimizing FLOPs to Learn Efficient Sparse Representations, ICLR 2020.
    """
    queries, documents = np.asarray(query_df, np.float64), np.asarray(doc_df, np.float64)
    if queries.shape != documents.shape:
        raise SettingError(
            f"query_df has shape {queries.shape} and doc_df has shape {documents.shape}: both need one entry per latent"
        )
    if n_queries < 1 or n_docs < 1:
        raise SettingError(f"QD-FLOPs need at least one query and one document, not {n_queries} and {n_docs}")
    return float(queries @ documents) / (n_queries * n_docs)


def delta_e(rr: float, flops: float) -> float:
    """Returns ΔE, which combines effectiveness and search cost in one number; higher is better.

    ``ΔE = 3 - 1 / RR@10 - 0.1 ln(4.5 QD-FLOPs)``, with the constants that the authors use in validation.

    Args:
        rr: RR@10, from 0 to 1.
        flops: QD-FLOPs (see :func:`qd_flops`).

    Returns:
        ΔE, or minus infinity if either argument is 0.

    Examples:
        >>> round(delta_e(0.382, 2.0), 3)
        0.162
    """
    if rr <= 0 or flops <= 0:
        return -math.inf
    return 3 - 1 / rr - 0.1 * math.log(4.5 * flops)


def parse_measures(names: Iterable[str]) -> list[Any]:
    """Parses measures given by their ``ir_measures`` names.

    Args:
        names: Names such as ``nDCG@10``, ``AP(rel=2)``, ``R@1000``.

    Returns:
        ``ir_measures.Measure`` objects, in the same order.

    Raises:
        SettingError: If no name is given, or a measure is unknown, repeated, or needs a provider that is not installed.

    Examples:
        >>> parse_measures(["nDCG@10", "AP(rel=2)"])
        [nDCG@10, AP(rel=2)]
    """
    measures = [_parse(name) for name in names]
    if not measures:
        raise SettingError("no measures given: name at least one measure, such as nDCG@10")
    for position, measure in enumerate(measures):
        if measure in measures[:position]:
            raise SettingError(f"the measure {measure} is given twice")
    return measures


def _parse(name: str) -> Any:
    try:
        measure = ir_measures.parse_measure(name)
        measure.validate_params()
        supported = ir_measures.DefaultPipeline.supports(measure)
    except (NameError, ValueError, AssertionError, TypeError) as error:
        raise SettingError(
            f"{name!r} is not a measure: use a name from ir_measures, such as nDCG@10, AP(rel=2) or R@1000 "
            "(https://ir-measur.es)"
        ) from error
    if not supported:
        raise SettingError(
            f"the measure {name} needs an ir_measures provider that is not installed: see https://ir-measur.es"
        )
    return measure
