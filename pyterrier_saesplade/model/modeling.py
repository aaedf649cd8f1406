"""The network: token ids in, pooled concept vectors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedModel

from pyterrier_saesplade.errors import ModelError
from pyterrier_saesplade.model.backbone import Layer, build_backbone, check_encoder, load_backbone, loading
from pyterrier_saesplade.model.config import SaeSpladeConfig, check_k, check_width
from pyterrier_saesplade.model.digest import weights_digest
from pyterrier_saesplade.model.heads import SparseHead
from pyterrier_saesplade.model.paper import load_weights, read_weights, settings_of
from pyterrier_saesplade.model.pooling import Pooled

if TYPE_CHECKING:
    import os

    from pyterrier_saesplade.types import Side


class SaeSpladeModel(PreTrainedModel):
    """SAE-SPLADE as a transformers model, with ``from_pretrained``, ``save_pretrained`` and ``push_to_hub``.

    Once this package is imported, ``AutoModel.from_pretrained`` loads it as well. Weights are only stored as
    safetensors.

    Args:
        config: The configuration, including ``backbone_config``.
        backbone: The encoder with its weights. If omitted, it is built from ``config`` without weights.
    """

    config_class = SaeSpladeConfig
    config: SaeSpladeConfig
    mean_bias: Tensor
    mean_norm: Tensor
    base_model_prefix = "saesplade"
    supports_gradient_checkpointing = True

    def __init__(self, config: SaeSpladeConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.backbone = backbone if backbone is not None else build_backbone(config.backbone_config, config.layer)
        dimension = int(self.backbone.config.hidden_size)
        self.head = SparseHead(config.width, dimension, decoder=config.decoder)
        if config.head == "mlm":
            # The vocabulary projection has no input bias, and training must not add one.
            self.head.b_dec.requires_grad_(False)
        self.alpha = nn.Parameter(torch.tensor(float(config.alpha)))
        self.query_weights = nn.Parameter(torch.ones(config.width)) if config.query_weights else None
        if config.input_norm:
            self.register_buffer("mean_bias", torch.zeros(dimension))
            self.register_buffer("mean_norm", torch.ones(()))
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_backbone(cls, name_or_path: str | os.PathLike[str], **settings: Any) -> SaeSpladeModel:
        """Puts a new, untrained SAE head on a pretrained encoder.

        Args:
            name_or_path: Hub name or folder of the encoder.
            **settings: Settings of :class:`~pyterrier_saesplade.model.SaeSpladeConfig`.

        Raises:
            PathNotFoundError: If there is no such encoder.
            ModelError: If it is already a SAE-SPLADE model, or lacks weights that are needed.
            SettingError: If it has no such layer, or a setting is invalid.

        Examples:
            >>> network = SaeSpladeModel.from_backbone("distilbert-base-uncased", width=4096, k=8)
            >>> network.config.width, network.config.k
            (4096, 8)
        """
        layer: Layer = settings.get("layer", "last")
        check_encoder(str(name_or_path))
        backbone_config = AutoConfig.from_pretrained(name_or_path).to_dict()
        if backbone_config["model_type"] == SaeSpladeConfig.model_type:
            raise ModelError(f"{name_or_path} is already a SAE-SPLADE model: give the encoder that it was built on")
        config = SaeSpladeConfig(backbone=str(name_or_path), backbone_config=backbone_config, **settings)
        return cls(config, load_backbone(name_or_path, layer))

    @classmethod
    def from_splade(cls, name_or_path: str | os.PathLike[str], **settings: Any) -> SaeSpladeModel:
        """Loads any SPLADE checkpoint, with the vocabulary projection of its masked language model as the head.

        Args:
            name_or_path: Hub name or folder of a checkpoint that ``AutoModelForMaskedLM`` loads.
            **settings: Settings of :class:`~pyterrier_saesplade.model.SaeSpladeConfig`. ``k`` defaults to ``None``,
                because SPLADE has no TopK.

        Raises:
            ModelError: If the checkpoint cannot be loaded, or has no vocabulary projection.
        """
        with loading(name_or_path):
            source = AutoModelForMaskedLM.from_pretrained(name_or_path, dtype=torch.float32)
        projection = source.get_output_embeddings()
        if projection is None:
            raise ModelError(f"{name_or_path} is not a SPLADE checkpoint: it has no masked language model head")
        settings = {"k": None, "weighting": "none", "query_max_length": 256} | settings
        config = SaeSpladeConfig(
            backbone=str(name_or_path),
            backbone_config=source.config.to_dict(),
            head="mlm",
            layer="h",
            width=len(projection.weight),
            k_sae=settings["k"] or len(projection.weight),
            **settings,
        )
        model = cls(config, load_backbone(name_or_path, "h"))
        with torch.no_grad():
            model.head.W_enc.copy_(projection.weight)
            model.head.b_enc.copy_(projection.bias if projection.bias is not None else torch.zeros(config.width))
        return model

    @classmethod
    def from_paper(
        cls, weights: str | os.PathLike[str], backbone: str | os.PathLike[str], **settings: Any
    ) -> SaeSpladeModel:
        """Loads a model that was trained with the paper's code.

        Args:
            weights: A safetensors or torch file with ``W_enc``, ``b_enc``, ``W_dec``, ``b_dec`` and, optionally,
                ``alpha``, ``mean_bias``, ``mean_norm`` and the weights of a fine-tuned backbone.
            backbone: Hub name or folder of the encoder that the model was built on.
            **settings: Settings of :class:`~pyterrier_saesplade.model.SaeSpladeConfig`. As in the paper, markers are on
                by default. Width, decoder and input normalisation are inferred from the weights.

        Raises:
            ModelError: If the file does not contain the weights of exactly one such model.
        """
        read = read_weights(weights)
        model = cls.from_backbone(backbone, **({"markers": True} | settings | settings_of(read)))
        load_weights(model, read)
        return model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, SparseHead):
            # Some releases of transformers (such as 5.3) call this for loaded weights too, which they mark.
            loaded = [weights for weights in module.parameters() if getattr(weights, "_is_hf_initialized", False)]
            kept = [weights.clone() for weights in loaded]
            module.reset_parameters()
            for weights, values in zip(loaded, kept, strict=True):
                weights.copy_(values)

    def token_states(self, input_ids: Tensor, attention_mask: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Computes the token states that the head reads: ``[T, d]``, text by text, without padding.

        Args:
            input_ids: ``[B, L]``.
            attention_mask: ``[B, L]``, 1 for tokens, 0 for padding.
            tokens: ``[T]``, the positions at which the flattened mask is 1. If omitted, they are computed, which makes
                the CPU wait for a GPU.
        """
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        states: Tensor = output.logits if self.config.layer == "h" else output.last_hidden_state
        states = states.flatten(0, 1)
        states = states[attention_mask.flatten().bool()] if tokens is None else states.index_select(0, tokens)
        states = states.to(self.head.W_enc.dtype)
        return (states - self.mean_bias) / self.mean_norm if self.config.input_norm else states

    def pool(
        self,
        states: Tensor,
        bounds: list[int],
        k: int | None,
        *,
        side: Side = "doc",
        dtype: torch.dtype | None = None,
    ) -> Pooled:
        """Computes the concept vectors of texts from their packed token states.

        Args:
            states: ``[T, d]``.
            bounds: ``n + 1`` ascending offsets: text ``i`` has the rows ``bounds[i]`` to ``bounds[i + 1] - 1``.
            k: Latents kept per token; ``None`` keeps all.
            side: Whether the texts are documents or queries.
            dtype: The data type to search latents in; ``None`` for that of the weights.

        Returns:
            ``alpha * log(1 + maximum)`` for each latent that is active in a text. For queries, this is multiplied by
            the latent's query weight, if the model has query weights.
        """
        check_k(k, self.config.width)
        pooled = self.head.pool(states, bounds, k, dtype=dtype)
        values = pooled.values * self.mean_norm if self.config.input_norm else pooled.values
        pooled = pooled._replace(values=self.alpha * torch.log1p(values))
        return self.weigh(pooled) if side == "query" else pooled

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        k: int | None = None,
        side: Side = "doc",
        dtype: torch.dtype | None = None,
    ) -> Pooled:
        """Computes the concept vectors of a batch of tokenised texts, differentiably.

        Args:
            input_ids: ``[B, L]``.
            attention_mask: ``[B, L]``.
            k: Latents kept per token in this call; ``None`` for the configured number.
            side: Whether the texts are documents or queries.
            dtype: The data type to search latents in; ``None`` for that of the weights.

        Returns:
            One entry per text and active latent, at most ``T * k``.
        """
        bounds = [0, *attention_mask.sum(1).cumsum(0).tolist()]
        states = self.token_states(input_ids, attention_mask)
        return self.pool(states, bounds, self.config.k if k is None else k, side=side, dtype=dtype)

    @torch.no_grad()
    def narrow(self, width: int) -> None:
        """Drops all but the first ``width`` latents. Those of a Matryoshka SAE form a vocabulary by themselves.

        Raises:
            SettingError: If the model has fewer latents, or keeps more than ``width`` per token.
        """
        check_width(width, self.config)
        check_k(self.config.k, width)
        self.head.narrow(width)
        if self.query_weights is not None:
            self.query_weights = nn.Parameter(self.query_weights[:width].clone())
        self.config.width = width

    def weigh(self, queries: Pooled) -> Pooled:
        """Multiplies queries by the model's query weights, if it has any, and drops zeros."""
        if self.query_weights is None:
            return queries
        values = queries.values * torch.relu(self.query_weights)[queries.latents]
        kept = values > 0
        return Pooled(queries.texts[kept], queries.latents[kept], values[kept], queries.tokens[kept])

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Saves the weights and the configuration, which records their digest."""
        self.config.weights_digest = weights_digest(self)
        super().save_pretrained(save_directory, *args, **kwargs)


AutoModel.register(SaeSpladeConfig, SaeSpladeModel)
