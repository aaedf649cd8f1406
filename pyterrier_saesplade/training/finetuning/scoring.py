"""Differentiable scores of a training batch, computed from sparse vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from pyterrier_saesplade.model import Pooled


def score(queries: Pooled, documents: Pooled, n_queries: int, n_documents: int, width: int) -> Tensor:
    """Computes the dot product of every query with every document.

    The only dense matrix has one row per latent that is active in a query of the batch. These are some hundreds,
    regardless of the width of the vocabulary.

    Args:
        queries: Vectors of the queries.
        documents: Vectors of the documents, sorted by text.
        n_queries: Number of queries, B.
        n_documents: Number of documents, N.
        width: Number of latents, M.

    Returns:
        The scores ``[B, N]``.
    """
    used, rows = torch.unique(queries.latents, return_inverse=True)
    table = queries.values.new_zeros(len(used), n_queries).index_put((rows, queries.texts), queries.values)
    row_of = torch.full((width,), -1, device=used.device)
    row_of[used] = torch.arange(len(used), device=used.device)
    rows = row_of[documents.latents]
    shared = rows >= 0
    texts = documents.texts[shared]
    starts = torch.searchsorted(texts, torch.arange(n_documents, device=texts.device))
    scores = functional.embedding_bag(
        rows[shared], table, starts, per_sample_weights=documents.values[shared], mode="sum"
    )
    return scores.T
