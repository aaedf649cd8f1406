"""Late interaction: sums, over the tokens of a query, the largest similarity to a token of a document."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import pyterrier as pt
import torch
from torch import Tensor

from pyterrier_saesplade.impacts import as_texts
from pyterrier_saesplade.pipeline import Stage, in_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pyterrier_saesplade.types import Side


class TokenModel(Protocol):
    """A model that computes a unit-length vector for each token of a text."""

    def states(self, texts: Sequence[str | None], side: Side) -> Iterator[tuple[int, Tensor]]:
        """Encodes texts.

        Yields:
            The position of a text and its token states ``[tokens, d]``, in any order, except for texts without tokens.
        """


class LateScorer(Stage):
    """Scores each row by late interaction between its query and document, and ranks again.

    The score of a row is ``Σ_i max_j q_i · d_j`` over the token states of its query and document, or 0 if either text
    is missing. Each distinct text is encoded once. Memory holds the states of all distinct queries and of at most
    ``batch_size`` documents.
    """

    text_field: str
    batch_size: int
    verbose: bool

    @property
    @abstractmethod
    def _token_model(self) -> TokenModel:
        """The model, which is loaded at first use."""

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with new ``score`` and ``rank``."""
        pt.validate.result_frame(inp, extra_columns=["query", self.text_field])
        if inp.empty:
            return pt.model.add_ranks(inp.assign(score=pd.Series(dtype=float)))
        query_of, queries = pd.factorize(_column(inp, "query"))
        document_of, documents = pd.factorize(_column(inp, self.text_field))
        return pt.model.add_ranks(inp.assign(score=self._scores(query_of, list(queries), document_of, list(documents))))

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns an empty dictionary: the model is not a stage of the pipeline."""
        return {}

    def _scores(
        self,
        query_of: NDArray[np.int64],
        queries: list[str],
        document_of: NDArray[np.int64],
        documents: list[str],
    ) -> NDArray[np.float64]:
        """Scores the rows document by document. Position -1 stands for a missing text."""
        scores = np.zeros(len(query_of))
        states_of = dict(self._token_model.states(queries, "query"))
        scored = np.flatnonzero(np.isin(query_of, list(states_of)) & (document_of >= 0))
        order = scored[np.argsort(document_of[scored], kind="stable")]
        present, starts = np.unique(document_of[order], return_index=True)
        rows_of = np.split(order, starts[1:])
        texts = [documents[number] for number in present]
        start = 0
        for batch in in_batches(texts, self.batch_size, verbose=self.verbose, desc="Scoring documents", unit="doc"):
            for number, states in self._token_model.states(batch, "doc"):
                rows = rows_of[start + number]
                scores[rows] = max_sim([states_of[query] for query in query_of[rows]], states)
            start += len(batch)
        return scores


def max_sim(queries: Sequence[Tensor], document: Tensor) -> NDArray[np.float64]:
    """Returns the score of each query for one document (ColBERT, Khattab and Zaharia 2020, equation 3).

    Args:
        queries: The token states ``[tokens, d]`` of each query.
        document: The token states ``[tokens, d]`` of the document.

    Returns:
        ``Σ_i max_j q_i · d_j`` for each query.

    Examples:
        >>> import torch
        >>> max_sim([torch.eye(2), torch.tensor([[0.0, 1.0]])], torch.tensor([[1.0, 0.0], [0.6, 0.8]])).round(4)
        array([1.8, 0.8])
    """
    with torch.inference_mode():
        nearest = (torch.cat(list(queries)) @ document.T).amax(1).cpu().numpy().astype(np.float64)
    return np.add.reduceat(nearest, np.cumsum([0, *map(len, queries[:-1])]))


def _column(inp: pd.DataFrame, name: str) -> pd.Series:
    """Returns a column of texts, with ``None`` for missing and blank texts, which cannot be encoded."""
    texts = [text if text is not None and text.strip() else None for text in as_texts(inp[name])]
    return pd.Series(texts, dtype=object)
