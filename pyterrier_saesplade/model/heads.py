"""The sparse head, which turns token states into activations over the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyterrier_saesplade.errors import ModelError
from pyterrier_saesplade.model.pooling import Pooled, max_pool
from pyterrier_saesplade.model.topk import search_factors, select_active, select_topk, selected_linear

#: Rows of the dictionary processed at a time, so that they stay in the CPU cache.
_ROWS = 2048


class SparseHead(nn.Module):
    """The encoder of a TopK sparse autoencoder, or the vocabulary projection of a masked language model.

    Both compute ``p = (x - b_dec) W_encᵀ + b_enc``, keep the ``k`` largest values per token, and apply ReLU (paper,
    section 3.1). For the masked language model, ``b_dec`` is fixed at 0.

    Args:
        width: The number of latents, M.
        dimension: The size of a token state, d.
        decoder: Whether the head includes the decoder's dictionary ``W_dec``, which training needs.

    Examples:
        >>> values, latents = SparseHead(width=64, dimension=8)(torch.randn(5, 8), k=4)
        >>> tuple(values.shape), tuple(latents.shape)
        ((5, 4), (5, 4))
    """

    def __init__(self, width: int, dimension: int, *, decoder: bool = False) -> None:
        super().__init__()
        self.W_enc = nn.Parameter(torch.empty(width, dimension))
        self.b_enc = nn.Parameter(torch.empty(width))
        self.b_dec = nn.Parameter(torch.empty(dimension))
        self.W_dec = nn.Parameter(torch.empty(width, dimension)) if decoder else None
        #: Whether to cache the search factors, a copy of ``W_enc``, between calls without gradient.
        self.keeps_factors = False
        self._kept: tuple[tuple[object, ...], Tensor, tuple[Tensor, ...]] | None = None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialises the weights as in the paper: the encoder like ``nn.Linear``, the decoder rows at unit norm."""
        bound = self.W_enc.shape[1] ** -0.5
        self.W_enc.uniform_(-bound, bound)
        self.b_enc.zero_()
        self.b_dec.zero_()
        if self.W_dec is not None:
            self.W_dec.copy_(nn.functional.normalize(self.W_enc, dim=1))

    @property
    def dictionary(self) -> nn.Parameter:
        """The decoder's rows, ``[M, d]``, at unit norm.

        Raises:
            ModelError: If the head has no decoder.
        """
        if self.W_dec is None:
            raise ModelError("this model was saved without its SAE's decoder, which reconstruction needs")
        return self.W_dec

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Removes the component of the dictionary's gradient parallel to its rows. To be called before a step."""
        if self.dictionary.grad is not None:
            for first in range(0, len(self.dictionary), _ROWS):
                gradient, rows = (each[first : first + _ROWS] for each in (self.dictionary.grad, self.dictionary))
                gradient.addcmul_((gradient * rows).sum(1, keepdim=True), rows, value=-1)

    @torch.no_grad()
    def normalise_dictionary(self) -> None:
        """Rescales the dictionary's rows to unit norm. To be called after a step."""
        self.dictionary.div_(self.dictionary.norm(dim=1, keepdim=True))

    def narrow(self, width: int) -> None:
        """Drops all but the first ``width`` latents."""
        for name in ("W_enc", "b_enc", "W_dec"):
            rows = getattr(self, name)
            if rows is not None:
                setattr(self, name, nn.Parameter(rows.detach()[:width].clone()))
        self._kept = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the cached factors out of pickles and deep copies."""
        return {**self.__dict__, "_kept": None}

    def forward(
        self, states: Tensor, k: int, *, candidates: int | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """Computes the ``k`` strongest activations of each token.

        Args:
            states: ``[T, d]``, packed, without padding.
            k: The number of latents to keep per token.
            candidates: As in :func:`~pyterrier_saesplade.model.topk.select_topk`.
            dtype: The data type to search latents in. Activations are always computed in that of the weights.

        Returns:
            The non-negative activations ``[T, k]`` and their latents ``[T, k]``.
        """
        centred = states - self.b_dec
        factors = self._search_factors(dtype)
        latents, values = select_topk(centred, self.W_enc, self.b_enc, k, candidates=candidates, factors=factors)
        if values is None or torch.is_grad_enabled():
            values = selected_linear(centred, self.W_enc, self.b_enc, latents)
        return torch.relu(values), latents

    def pool(self, states: Tensor, bounds: list[int], k: int | None, *, dtype: torch.dtype | None = None) -> Pooled:
        """Computes the pooled activations of texts.

        Args:
            states: ``[T, d]``, the tokens of all texts, concatenated.
            bounds: ``n + 1`` ascending offsets: text ``i`` has the tokens ``bounds[i]`` to ``bounds[i + 1] - 1``.
            k: The number of latents to keep per token; ``None`` (or M) keeps all.
            dtype: The data type to search latents in; ``None`` for that of the weights.

        Returns:
            The maximum activation of each latent that is active in a text.
        """
        width = len(self.W_enc)
        if k is not None and k < width:
            lengths = torch.tensor(bounds).diff()
            texts = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(states.device)
            # float32 values decide among twice as many candidates, which hides the lower precision of the search.
            values, latents = self(states, k, candidates=2 * k if dtype is not None else None, dtype=dtype)
            return max_pool(values, latents, texts, width)
        centred = states - self.b_dec
        active = select_active(centred, self.W_enc, self.b_enc, bounds, factors=self._search_factors(dtype))
        values = selected_linear(centred[active.tokens], self.W_enc, self.b_enc, active.latents.unsqueeze(1)).squeeze(1)
        kept = (values > 0).nonzero().squeeze(1)
        return Pooled(active.texts[kept], active.latents[kept], values[kept], active.tokens[kept])

    def _search_factors(self, dtype: torch.dtype | None) -> Tensor:
        """Returns the factors to search latents with, from the cache if the weights have not changed.

        Changes are detected by torch's version counter. Fused optimisers do not increment it, so a pass with gradient
        clears the cache. Writes through ``.data`` are not detected.
        """
        weights = (self.W_enc, self.b_enc)
        if torch.is_grad_enabled() or not self.keeps_factors or any(each.is_inference() for each in weights):
            self._kept = None
            return search_factors(*weights, dtype)
        made_of = (dtype, *((id(each), each.data_ptr(), each._version) for each in weights))
        kept = self._kept
        if kept is None or kept[0] != made_of:
            # The weights are kept as well, so that no other object can reuse their id.
            kept = made_of, search_factors(*weights, dtype), weights
            self._kept = kept
        return kept[1]
