"""What defines a SAE-SPLADE model, apart from its weights."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from transformers import AutoConfig, PreTrainedConfig

from pyterrier_saesplade.errors import ModelError
from pyterrier_saesplade.types import Head, Weighting

#: The settings that change a document's vector; with the weights and the tokenizer they make the fingerprint.
_DOCUMENT_SETTINGS = ("head", "layer", "width", "k", "markers", "doc_marker", "doc_max_length", "input_norm")


class SaeSpladeConfig(PreTrainedConfig):
    """Configuration of a :class:`~pyterrier_saesplade.model.SaeSpladeModel` (METHOD: SIGIR 2026, section 3).

    Args:
        backbone: Hub name or folder of the encoder that the model was made from; kept as a record.
        backbone_config: The configuration of that encoder, as a dictionary.
        head: ``"sae"`` (latents of a sparse autoencoder) or ``"mlm"`` (word pieces, which is SPLADE).
        layer: The token states that the head reads: ``"last"``, the number of a layer (from 1; those above are
            dropped), or ``"h"``, the masked language model's transform without its projection on the vocabulary.
        width: The number of latents, M.
        k_sae: Activations kept per token in the SAE's pre-training.
        k: Activations kept per token in use (k_SPLADE); ``None`` keeps all.
        alpha: Initial value of the learned factor of every weight.
        markers: Whether ``query_marker`` and ``doc_marker`` follow ``[CLS]``.
        query_marker: The word piece that marks queries.
        doc_marker: The word piece that marks documents.
        query_max_length: Queries are cut at this many word pieces, markers included.
        doc_max_length: The same for documents.
        input_norm: Whether token states are centred and scaled by ``mean_bias`` and ``mean_norm`` before the head.
        decoder: Whether the SAE's decoder is kept with the model; encoding texts does not need it.
        query_weights: Whether each latent has a factor of its own that the weights of queries are multiplied by, which
            fine-tuning may learn.
        weighting: What queries are multiplied by: ``"idf"`` of the latents in the index (a model without labels) or
            ``"none"`` (a model tuned for ranking).
        weights_digest: Digest of the weights, kept up to date by ``save_pretrained``.
        tokenizer_digest: The same for the tokenizer.
        **kwargs: What every configuration of transformers takes.
    """

    model_type = "saesplade"

    def __init__(
        self,
        backbone: str = "",
        backbone_config: dict[str, Any] | None = None,
        head: Head = "sae",
        layer: int | Literal["last", "h"] = "last",
        width: int = 16384,
        k_sae: int = 8,
        k: int | None = 8,
        alpha: float = 1.0,
        markers: bool = False,
        query_marker: str = "[unused0]",
        doc_marker: str = "[unused1]",
        query_max_length: int = 32,
        doc_max_length: int = 256,
        input_norm: bool = False,
        decoder: bool = False,
        query_weights: bool = False,
        weighting: Weighting = "none",
        weights_digest: str = "",
        tokenizer_digest: str = "",
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone
        self.backbone_config = backbone_config or {}
        self.head = head
        self.layer = layer
        self.width = width
        self.k_sae = k_sae
        self.k = k
        self.alpha = alpha
        self.markers = markers
        self.query_marker = query_marker
        self.doc_marker = doc_marker
        self.query_max_length = query_max_length
        self.doc_max_length = doc_max_length
        self.input_norm = input_norm
        self.decoder = decoder
        self.query_weights = query_weights
        self.weighting = weighting
        self.weights_digest = weights_digest
        self.tokenizer_digest = tokenizer_digest
        super().__init__(**kwargs)
        check_k(k, width)

    def fingerprint(self, **overrides: Any) -> str:
        """Returns what identifies the vectors that this model gives documents.

        Two models with the same fingerprint index alike: their weights, tokenizers and document-side settings agree.
        How queries are cut is no part of it.

        Args:
            **overrides: Document-side settings (``k``, ``doc_max_length``) that differ from the configuration's.

        Returns:
            32 hexadecimal digits.

        Raises:
            ValueError: If the model has not been saved or loaded yet, so that its digests are unknown.
        """
        if not self.weights_digest or not self.tokenizer_digest:
            raise ModelError("this configuration has no digest of its weights and tokenizer: save the model first")
        settings = {name: overrides.get(name, getattr(self, name)) for name in _DOCUMENT_SETTINGS}
        settings |= {"weights": self.weights_digest, "tokenizer": self.tokenizer_digest}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def check_k(k: int | None, width: int) -> None:
    """Raises ``ValueError`` unless ``k`` activations can be kept of ``width``."""
    if k is not None and not 1 <= k <= width:
        raise ModelError(f"k must be between 1 and the width of the vocabulary, {width} (or None for all), not {k}")


def check_width(width: int, config: SaeSpladeConfig) -> None:
    """Raises ``ValueError`` unless the first ``width`` latents of a model can be taken alone."""
    if config.head != "sae" or not 1 <= width <= config.width:
        raise ModelError(f"width must be between 1 and the width of the model's SAE, {config.width}, not {width}")


AutoConfig.register(SaeSpladeConfig.model_type, SaeSpladeConfig)
