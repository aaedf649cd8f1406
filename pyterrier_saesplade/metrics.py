"""What a comparison reports: measures of effectiveness by name, and the cost of scoring. Imports no PyTerrier."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import ir_measures
import numpy as np
from numpy.typing import ArrayLike

from pyterrier_saesplade.errors import SettingError

#: The figures of a comparison, unless others are asked for.
DEFAULT_MEASURES = ("nDCG@10", "RR@10", "AP", "R@1000")


def qd_flops(query_df: ArrayLike, n_queries: int, doc_df: ArrayLike, n_docs: int) -> float:
    """Expected number of multiplications to score one query against one document with an inverted index.

    ``QD-FLOPs = Σ_j p_q(j) · p_d(j)``, where ``p(j)`` is the share of queries (documents) in which latent ``j`` is
    active. The figure holds for any bag of terms, words included.

    Args:
        query_df: ``[M]``, the number of queries in which each latent is active.
        n_queries: The number of queries, empty ones included.
        doc_df: ``[M]``, the number of documents in which each latent is active.
        n_docs: The number of documents, empty ones included.

    Returns:
        Multiplications for each pair of a query and a document.

    Raises:
        ValueError: If there are no queries or no documents, or the two vocabularies differ in size.

    Examples:
        Of two queries, both hold latent 0 and one latent 2; of four documents, one holds latent 0 and three latent 2.
        One pair costs 2/2 · 1/4 + 1/2 · 3/4 multiplications:

        >>> qd_flops([2, 0, 1], 2, [1, 4, 3], 4)
        0.625

    References:
        Paria et al., Minimizing FLOPs to Learn Efficient Sparse Representations, ICLR 2020.
    """
    queries, documents = np.asarray(query_df, np.float64), np.asarray(doc_df, np.float64)
    if queries.shape != documents.shape:
        raise SettingError(f"query_df is over {queries.shape} latents, doc_df over {documents.shape}: they must agree")
    if n_queries < 1 or n_docs < 1:
        raise SettingError(f"QD-FLOPs need at least one query and one document, not {n_queries} and {n_docs}")
    return float(queries @ documents) / (n_queries * n_docs)


def delta_e(rr: float, flops: float) -> float:
    """Effectiveness and the cost of search in one figure, larger is better.

    ``ΔE = 3 - 1 / RR@10 - 0.1 ln(4.5 QD-FLOPs)``; the constants are those of the authors' validation.

    Args:
        rr: RR@10, a fraction.
        flops: QD-FLOPs (see :func:`qd_flops`).

    Returns:
        ΔE; minus infinity if nothing is found.

    Examples:
        >>> round(delta_e(0.382, 2.0), 3)
        0.162
    """
    if rr <= 0 or flops <= 0:
        return -math.inf
    return 3 - 1 / rr - 0.1 * math.log(4.5 * flops)


def parse_measures(names: Iterable[str]) -> list[Any]:
    """Reads measures by their ir_measures names.

    Args:
        names: Such as ``nDCG@10``, ``AP(rel=2)``, ``R@1000``.

    Returns:
        ``ir_measures.Measure`` objects, in order.

    Raises:
        ValueError: If there are none, or one is unknown, repeated, or cannot be computed with what is installed.

    Examples:
        >>> parse_measures(["nDCG@10", "AP(rel=2)"])
        [nDCG@10, AP(rel=2)]
    """
    measures = [_parse(name) for name in names]
    if not measures:
        raise SettingError("name at least one measure, such as nDCG@10")
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
            f"{name!r} is no measure: use the names of ir_measures, such as nDCG@10, AP(rel=2) or R@1000 (https://ir-measur.es)"
        ) from error
    if not supported:
        raise SettingError(
            f"the measure {name} needs a provider of ir_measures that is not installed (https://ir-measur.es)"
        )
    return measure
