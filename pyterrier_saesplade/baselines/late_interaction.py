"""Late interaction over the token states of any encoder: a baseline without training."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoTokenizer

from pyterrier_saesplade.baselines.maxsim import LateScorer
from pyterrier_saesplade.checks import require_positive
from pyterrier_saesplade.encoding import (
    BATCH_TOKENS,
    TextTokenizer,
    pad,
    pick_device,
    quiet_transformers,
    token_batches,
)
from pyterrier_saesplade.model import SaeSpladeConfig, load_backbone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyterrier_saesplade.types import Side


class BackboneStates:
    """The token states of the last layer of an encoder, scaled to unit length.

    Args:
        backbone: Folder or hub name of any encoder.
        doc_max_length: Maximum number of word pieces per document, including ``[CLS]`` and ``[SEP]``.
        query_max_length: The same for queries.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.

    Raises:
        SettingError: If a length exceeds the limit of the encoder.
        ModelError: If the encoder lacks weights.
    """

    def __init__(self, backbone: str, doc_max_length: int, query_max_length: int, device: str | None = None) -> None:
        self.device = pick_device(device)
        with quiet_transformers():
            config = SaeSpladeConfig(
                backbone=backbone,
                backbone_config=AutoConfig.from_pretrained(backbone).to_dict(),
                doc_max_length=doc_max_length,
                query_max_length=query_max_length,
            )
            self.tokenizer = AutoTokenizer.from_pretrained(backbone)
            self.tokenize = TextTokenizer(self.tokenizer, config)
            self.network = load_backbone(backbone, "last").to(self.device)  # type: ignore[arg-type]
        self.network.train(False)

    def states(self, texts: Sequence[str | None], side: Side) -> Iterator[tuple[int, Tensor]]:
        """Yields the position of a text and its token states ``[tokens, d]``, batch by batch, long texts first.

        Other texts in a batch affect the states of a text only through floating-point rounding.
        """
        ids = self.tokenize(texts, side)
        lengths = np.array([len(pieces) for pieces in ids])
        for batch in token_batches(lengths, BATCH_TOKENS):
            full = [number for number in batch.tolist() if lengths[number]]
            if full:
                yield from zip(full, self._encode([ids[number] for number in full]), strict=True)

    def _encode(self, ids: list[list[int]]) -> tuple[Tensor, ...]:
        input_ids, mask = (tensor.to(self.device) for tensor in pad(ids, self.tokenizer.pad_token_id or 0))
        with torch.inference_mode():
            output = self.network(input_ids=input_ids, attention_mask=mask, return_dict=True)
            packed = functional.normalize(output.last_hidden_state[mask.bool()], dim=1)
        return torch.split(packed, [len(pieces) for pieces in ids])


class LateInteraction(LateScorer):
    """Re-ranks by late interaction over the token states of an encoder, without projection or training.

    This is ColBERT's scoring without ColBERT's training: the largest cosine between the last-layer state of each query
    token and those of the document, summed over query tokens. It shows how well token states alone work, from which
    concepts are learned. For ColBERT checkpoints see :class:`~pyterrier_saesplade.ColbertModel`.

    The score of a row is 0 if its query or document has no text. Each distinct text is encoded once. Memory holds the
    states of all distinct queries, without padding, and of one batch of documents.

    Args:
        backbone: Folder or hub name of any encoder. It is loaded when the first text is encoded.
        doc_max_length: Maximum number of word pieces per document, including ``[CLS]`` and ``[SEP]``.
        query_max_length: The same for queries.
        text_field: The column of the document text.
        batch_size: Number of documents that are sorted by length together.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.
        verbose: Whether to show progress.

    Raises:
        SettingError: If a length or ``batch_size`` is not positive, or there is no such device.

    Examples:
        >>> reranker = LateInteraction("distilbert-base-uncased")
        >>> pipeline = bm25 % 100 >> dataset.text_loader() >> reranker
        >>> sorted(pipeline.search("young cat")["docno"])
        ['d11', 'd3', 'd4']
    """

    label: ClassVar[str] = "Late interaction"

    def __init__(
        self,
        backbone: str,
        *,
        doc_max_length: int = 256,
        query_max_length: int = 32,
        text_field: str = "text",
        batch_size: int = 1024,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        require_positive(doc_max_length=doc_max_length, query_max_length=query_max_length, batch_size=batch_size)
        pick_device(device)  # raises an error now instead of when the first text is encoded
        self.backbone = str(backbone)
        self.doc_max_length = doc_max_length
        self.query_max_length = query_max_length
        self.text_field = text_field
        self.batch_size = batch_size
        self.device = device
        self.verbose = verbose

    @cached_property
    def _token_model(self) -> BackboneStates:
        return BackboneStates(self.backbone, self.doc_max_length, self.query_max_length, self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Pickles the settings without the model."""
        return {name: value for name, value in vars(self).items() if name != "_token_model"}
