"""Scores of a training batch, from sparse vectors, differentiably."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pyterrier_saesplade.model import Pooled


def score(queries: Pooled, documents: Pooled, n_queries: int, n_documents: int, width: int) -> Tensor:
    """Computes the dot product of every query with every document.

    The only dense matrix has a row for each latent that a query of the batch has: some hundreds, whatever the width of
    the vocabulary.

    Args:
        queries: Their vectors.
        documents: Theirs, by text.
        n_queries: How many queries there are, B.
        n_documents: How many documents, N.
        width: The number of latents, M.

    Returns:
        ``[B, N]``.
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
