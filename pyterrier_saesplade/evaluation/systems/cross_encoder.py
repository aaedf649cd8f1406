"""A cross-encoder over the first results of BM25."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import pyterrier as pt
from pydantic import PositiveInt

from pyterrier_saesplade.errors import MissingPackageError
from pyterrier_saesplade.evaluation.systems.kinds import Given, system_kind
from pyterrier_saesplade.evaluation.systems.reranker import Reranker
from pyterrier_saesplade.model import check_encoder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder

    from pyterrier_saesplade.evaluation.systems.base import System


class CrossEncoderSystem(Reranker):
    """The first results of BM25, reranked by a cross-encoder of sentence-transformers.

    Args:
        source: Hub name or folder of the cross-encoder.
        depth: Number of results to rerank, which is the depth of the run.
        language: The language of documents and queries, as two letters.
        name: The name of the row.

    Raises:
        MissingPackageError: If sentence-transformers is not installed.
        PathNotFoundError: If there is no such model.
        SettingError: If ``depth`` is not positive, or the language is not supported.
    """

    def __init__(self, source: str, *, depth: int = 100, language: str = "en", name: str = "cross-encoder") -> None:
        super().__init__(depth, language, name)
        try:
            import sentence_transformers  # noqa: F401  # fails now, and not after BM25 has searched
        except ImportError as error:
            raise MissingPackageError(
                "a cross-encoder needs sentence-transformers: pip install sentence-transformers"
            ) from error
        check_encoder(source)
        self.source = source
        self.note = f"{name}: the cross-encoder {source} over the first {depth} results of bm25"

    @cached_property
    def model(self) -> CrossEncoder:
        """The cross-encoder, loaded at first use."""
        from sentence_transformers import CrossEncoder

        model: CrossEncoder = CrossEncoder(self.source)
        return model

    def text_scorer(self) -> pt.Transformer:
        """Returns a transformer that scores pairs of query and text, in batches of 256."""

        def score(frame: pd.DataFrame) -> NDArray[np.float32]:
            scores: NDArray[np.float32] = self.model.predict(list(zip(frame["query"], frame["text"], strict=True)))
            return scores

        scorer: pt.Transformer = pt.apply.doc_score(score, batch_size=256)
        return scorer


@system_kind(
    "cross-encoder",
    source="MODEL",
    needs_source=True,
    options={"depth": PositiveInt},
    help="the first 100 results of ``bm25``, reranked by a cross-encoder of sentence-transformers",
)
def _cross_encoder(given: Given) -> System:
    return CrossEncoderSystem(str(given.source), language=given.language, name=given.label, **given.options)
