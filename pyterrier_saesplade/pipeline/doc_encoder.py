"""Encodes documents as terms with weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.impacts import Quantization, as_texts, to_toks
from pyterrier_saesplade.pipeline.stage import Stage, in_batches

if TYPE_CHECKING:
    from pyterrier_saesplade.protocols import ConceptModel


class DocEncoder(Stage):
    """Adds the concept vectors of documents as ``toks``, for any indexer that accepts ``toks``.

    Args:
        model: The model, usually a :class:`~pyterrier_saesplade.SaeSplade`.
        scale: Levels per unit of weight. ``toks`` contains integers, because most engines truncate floats. ``None``
            keeps the floats, for :class:`Quantizer`, stores and engines that support floats.
        k: Number of latents per token, to override the model's setting.
        text_field: The column of the text. ``None`` or an empty string gives an empty dictionary.
        batch_size: Number of documents that are encoded together. They are sorted by length within a batch, so larger
            batches are faster as long as they fit into memory. Indexing pipelines also use this batch size.
        verbose: Whether to show progress.

    Raises:
        SettingError: If ``k``, ``batch_size`` or ``scale`` is not positive.

    Examples:
        >>> encoder = DocEncoder(model, scale=None)
        >>> encoder(pd.DataFrame(documents)).columns.tolist()
        ['docno', 'text', 'toks']
    """

    label: ClassVar[str] = "Concepts of docs"

    def __init__(
        self,
        model: ConceptModel,
        *,
        scale: float | None = Quantization.scale,
        k: int | None = None,
        text_field: str = "text",
        batch_size: int = 1024,
        verbose: bool = False,
    ) -> None:
        require_positive(k=k, batch_size=batch_size)
        self.model = model
        self.scale = scale
        self.k = k
        self.text_field = text_field
        self.batch_size = batch_size
        self.verbose = verbose
        self._quantization = None if scale is None else Quantization(scale)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with a column ``toks``."""
        with pt.validate.any(inp) as v:
            v.document_frame(extra_columns=[self.text_field])
            v.columns(includes=[self.text_field])
        texts = as_texts(inp[self.text_field])
        toks: list[dict[str, float]] = []
        for batch in in_batches(texts, self.batch_size, verbose=self.verbose, desc="Encoding documents", unit="doc"):
            vectors = self.model.encode(batch, "doc", k=self.k, verbose=False)
            if self._quantization is not None:
                vectors = self._quantization.quantize(vectors)
            toks += to_toks(vectors, self.model.terms)
        return inp.assign(toks=pd.Series(toks, index=inp.index, dtype=object))

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Returns a pipeline that cuts off a ranking before its documents are encoded."""
        return pt.RankCutoff(k) >> self
