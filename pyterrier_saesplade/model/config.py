"""The configuration of a SAE-SPLADE model: everything that defines it except its weights."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from transformers import AutoConfig, PreTrainedConfig

from pyterrier_saesplade.errors import ModelError, SettingError

if TYPE_CHECKING:
    from pyterrier_saesplade.types import Head, Weighting

#: The settings that affect document vectors. The fingerprint covers them, the weights and the tokenizer.
_DOCUMENT_SETTINGS = ("head", "layer", "width", "k", "markers", "doc_marker", "doc_max_length", "input_norm")


class SaeSpladeConfig(PreTrainedConfig):
    """Configuration of a :class:`~pyterrier_saesplade.model.SaeSpladeModel` (Zong et al., SIGIR 2026, section 3).

    Args:
        backbone: Hub name or folder of the encoder that the model was built on. For reference only.
        backbone_config: The configuration of that encoder, as a dictionary.
        head: ``"sae"`` (latents of a sparse autoencoder) or ``"mlm"`` (word pieces, as in SPLADE).
        layer: The token states that the head reads: ``"last"``, a layer number (from 1; higher layers are dropped), or
            ``"h"``, the output of the masked language model's transform, before its vocabulary projection.
        width: The number of latents, M.
        k_sae: Activations kept per token during pre-training of the SAE.
        k: Activations kept per token when encoding (k_SPLADE); ``None`` keeps all.
        alpha: Initial value of the learned factor that scales all weights.
        markers: Whether ``query_marker`` or ``doc_marker`` is inserted after ``[CLS]``.
        query_marker: The word piece that marks queries.
        doc_marker: The word piece that marks documents.
        query_max_length: The maximum number of word pieces of a query, including its marker.
        doc_max_length: The same for documents.
        input_norm: Whether token states are centred and scaled by ``mean_bias`` and ``mean_norm`` before the head.
        decoder: Whether the SAE's decoder is kept in the model. Encoding does not need it.
        query_weights: Whether query weights are multiplied by one factor per latent, which fine-tuning may learn.
        weighting: What an index multiplies query weights by: ``"idf"`` of the latents in the index (for a model trained
            without labels) or ``"none"`` (for a model fine-tuned for ranking).
        weights_digest: Digest of the weights, updated by ``save_pretrained``.
        tokenizer_digest: Digest of the tokenizer.
        **kwargs: Arguments of ``transformers.PreTrainedConfig``.

    Raises:
        SettingError: If ``k`` is not between 1 and ``width``.

    Examples:
        >>> SaeSpladeConfig(width=4096, k=16).doc_max_length
        256
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
        """Returns an identifier of the document vectors that this model produces.

        Two models with the same fingerprint produce the same document vectors: they have equal weights, tokenizers and
        document-side settings. The query length is not part of the fingerprint.

        Args:
            **overrides: Document-side settings (``k``, ``doc_max_length``) to use in place of the configured ones.

        Returns:
            32 hexadecimal digits.

        Raises:
            ModelError: If the digests are unknown because the model has been neither saved nor loaded yet.
        """
        if not self.weights_digest or not self.tokenizer_digest:
            raise ModelError("this configuration has no digest of its weights and tokenizer: save the model first")
        settings = {name: overrides.get(name, getattr(self, name)) for name in _DOCUMENT_SETTINGS}
        settings |= {"weights": self.weights_digest, "tokenizer": self.tokenizer_digest}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def check_k(k: int | None, width: int) -> None:
    """Raises a :exc:`SettingError` unless ``k`` is ``None`` or between 1 and ``width``.

    Examples:
        >>> check_k(0, width=4096)
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: k must be between 1 and ..., 4096 (or None for all), not 0
    """
    if k is not None and not 1 <= k <= width:
        raise SettingError(f"k must be between 1 and the width of the vocabulary, {width} (or None for all), not {k}")


def check_width(width: int, config: SaeSpladeConfig) -> None:
    """Raises a :exc:`SettingError` unless the model can be truncated to its first ``width`` latents."""
    if config.head != "sae" or not 1 <= width <= config.width:
        raise SettingError(f"width must be between 1 and the width of the model's SAE, {config.width}, not {width}")


AutoConfig.register(SaeSpladeConfig.model_type, SaeSpladeConfig)
