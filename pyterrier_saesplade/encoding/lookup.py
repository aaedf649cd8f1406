"""A lookup table that replaces the network for queries: the average vector of each word piece over a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pyterrier_saesplade.encoding.encoder import EncodedTokens, Encoder

#: The number of tokens whose vectors are summed at a time.
_TOKENS = 1 << 19


def learn_table(
    encoder: Encoder,
    texts: Sequence[str | None],
    *,
    k: int | None = None,
    max_length: int | None = None,
    verbose: bool = False,
) -> ConceptVectors:
    """Encodes documents as if they were long queries, and averages the vectors of each word piece.

    Args:
        encoder: The encoder.
        texts: The texts of the documents.
        k: Latents kept per token; ``None`` for the configured number.
        max_length: The maximum number of word pieces per document; ``None`` for the configured document length.
        verbose: Whether to show a progress bar.

    Returns:
        One vector per word piece of the vocabulary. Those of special tokens, and of word pieces that do not occur in
        the texts, are empty.

    Examples:
        >>> encoder = Encoder.from_pretrained("my-model")
        >>> table = learn_table(encoder, ["the river bank"])
        >>> len(table) == len(encoder.tokenizer)
        True
    """
    max_length = max_length or encoder.config.doc_max_length
    tokens = encoder.encode_tokens(texts, side="query", k=k, max_length=max_length)
    bar = tqdm(tokens, total=len(texts), desc="Learning a table", unit="doc", disable=not verbose)
    table = mean_vectors(bar, len(encoder.tokenizer), encoder.config.width)
    pieces = table.rows
    return table.where(~np.isin(pieces, encoder.tokenize.special))


def mean_vectors(texts: Iterable[EncodedTokens], pieces: int, width: int) -> ConceptVectors:
    """Returns the mean vector of each word piece over all its occurrences.

    Args:
        texts: The tokens of each text, encoded in context.
        pieces: The size of the vocabulary, V.
        width: The number of latents, M.

    Returns:
        ``[V]`` vectors; empty for word pieces that do not occur.
    """
    sums, counts = sparse.csr_array((pieces, width), dtype=np.float64), np.zeros(pieces, np.int64)
    for window in _windows(texts):
        seen = np.concatenate([pieces for pieces, _ in window])
        vectors = ConceptVectors.concatenate([rows for _, rows in window])
        occurrences = sparse.csr_array((np.ones(len(seen)), (seen, np.arange(len(seen)))), shape=(pieces, len(seen)))
        sums = sums + occurrences @ vectors.to_csr(width)
        counts += np.bincount(seen, minlength=pieces)
    sums.sort_indices()
    indptr = sums.indptr.astype(np.int64)
    means = sums.data / np.repeat(counts, np.diff(indptr))
    return ConceptVectors(indptr, sums.indices.astype(np.int32), means.astype(np.float32))


def look_up(table: ConceptVectors, texts: Sequence[Sequence[int]]) -> ConceptVectors:
    """Returns the vectors of tokenised texts, each the sum of the vectors of its word pieces.

    Args:
        table: ``[V]`` vectors, as returned by :func:`mean_vectors`.
        texts: The token ids of each text.

    Examples:
        >>> table = ConceptVectors.from_rows([([0], [1.0]), ([0, 2], [2.0, 1.0])])
        >>> look_up(table, [[0, 1, 1]]).row(0)
        (array([0, 2], dtype=int32), array([5., 2.], dtype=float32))
    """
    entries = table.take(np.array([piece for text in texts for piece in text], np.int64))
    owners = np.repeat(np.repeat(np.arange(len(texts)), [len(text) for text in texts]), np.diff(entries.indptr))
    order = np.lexsort((entries.latents, owners))
    owners, latents = owners[order], entries.latents[order]
    first = np.flatnonzero(np.diff(owners, prepend=-1) | np.diff(latents, prepend=-1))
    weights = np.add.reduceat(entries.weights[order], first) if len(first) else entries.weights
    indptr = np.searchsorted(owners[first], np.arange(len(texts) + 1))
    return ConceptVectors(indptr.astype(np.int64), latents[first], weights)


def _windows(texts: Iterable[EncodedTokens]) -> Iterator[list[tuple[NDArray[np.int64], ConceptVectors]]]:
    """Groups the token ids and vectors of texts, without the states, until a group has :data:`_TOKENS` tokens."""
    window, tokens = [], 0
    for text in texts:
        window.append((text.token_ids, text.vectors))
        tokens += len(text.token_ids)
        if tokens >= _TOKENS:
            yield window
            window, tokens = [], 0
    if window:
        yield window
