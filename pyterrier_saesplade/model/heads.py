"""What turns token states into activations over the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyterrier_saesplade.errors import ModelError
from pyterrier_saesplade.model.pooling import Pooled, max_pool
from pyterrier_saesplade.model.topk import search_factors, select_active, select_topk, selected_linear

#: Rows of the dictionary that are worked on together, so that they stay in a CPU's cache.
_ROWS = 2048


class SparseHead(nn.Module):
    """The encoder of a TopK sparse autoencoder, or the vocabulary projection of a masked language model.

    Both are ``p = (x - b_dec) W_encᵀ + b_enc`` with, per token, the ``k`` largest kept and cut at zero (paper, section
    3.1); for the masked language model ``b_dec`` is fixed at 0.

    Args:
        width: The number of latents, M.
        dimension: The size of a token state, d.
        decoder: Whether the head has the decoder's dictionary ``W_dec`` too, which training needs.
    """

    def __init__(self, width: int, dimension: int, *, decoder: bool = False) -> None:
        super().__init__()
        self.W_enc = nn.Parameter(torch.empty(width, dimension))
        self.b_enc = nn.Parameter(torch.empty(width))
        self.b_dec = nn.Parameter(torch.empty(dimension))
        self.W_dec = nn.Parameter(torch.empty(width, dimension)) if decoder else None
        #: Whether searches without gradient keep what they multiply by, a copy of ``W_enc``, for the next one.
        self.keeps_factors = False
        self._kept: tuple[tuple[object, ...], Tensor, tuple[Tensor, ...]] | None = None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialises as the paper does: the encoder like ``nn.Linear``, the decoder with its rows at unit norm."""
        bound = self.W_enc.shape[1] ** -0.5
        self.W_enc.uniform_(-bound, bound)
        self.b_enc.zero_()
        self.b_dec.zero_()
        if self.W_dec is not None:
            self.W_dec.copy_(nn.functional.normalize(self.W_enc, dim=1))

    @property
    def dictionary(self) -> nn.Parameter:
        """The decoder's rows, ``[M, d]``, of unit norm.

        Raises:
            ValueError: If the head has no decoder.
        """
        if self.W_dec is None:
            raise ModelError("this model was saved without its SAE's decoder, which reconstruction needs")
        return self.W_dec

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Removes from the dictionary's gradient what is parallel to its rows, before a step."""
        if self.dictionary.grad is not None:
            for first in range(0, len(self.dictionary), _ROWS):
                gradient, rows = (each[first : first + _ROWS] for each in (self.dictionary.grad, self.dictionary))
                gradient.addcmul_((gradient * rows).sum(1, keepdim=True), rows, value=-1)

    @torch.no_grad()
    def normalise_dictionary(self) -> None:
        """Rescales the dictionary's rows to unit norm, after a step."""
        self.dictionary.div_(self.dictionary.norm(dim=1, keepdim=True))

    def narrow(self, width: int) -> None:
        """Keeps the first ``width`` latents."""
        for name in ("W_enc", "b_enc", "W_dec"):
            rows = getattr(self, name)
            if rows is not None:
                setattr(self, name, nn.Parameter(rows.detach()[:width].clone()))
        self._kept = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy, pickled or deep, begins without what was kept."""
        return {**self.__dict__, "_kept": None}

    def forward(
        self, states: Tensor, k: int, *, candidates: int | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """Computes the ``k`` strongest activations of each token.

        Args:
            states: ``[T, d]``, packed: no padding.
            k: How many latents to keep per token.
            candidates: As in :func:`~pyterrier_saesplade.model.topk.select_topk`.
            dtype: The type in which they are searched; their values always have the weights' own.

        Returns:
            Activations ``[T, k]`` (not negative) and their latents ``[T, k]``.
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
            states: ``[T, d]``, the tokens of all texts one after the other.
            bounds: ``n + 1`` ascending numbers: text ``i`` has the tokens ``bounds[i]`` to ``bounds[i + 1] - 1``.
            k: How many latents to keep per token; ``None`` (or M): all.
            dtype: The type in which latents are searched; ``None``: the weights' own.

        Returns:
            The maximum of each active latent of each text.
        """
        width = len(self.W_enc)
        if k is not None and k < width:
            lengths = torch.tensor(bounds).diff()
            texts = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(states.device)
            # Of twice as many candidates the float32 values decide, so that the search's precision is not seen.
            values, latents = self(states, k, candidates=2 * k if dtype is not None else None, dtype=dtype)
            return max_pool(values, latents, texts, width)
        centred = states - self.b_dec
        active = select_active(centred, self.W_enc, self.b_enc, bounds, factors=self._search_factors(dtype))
        values = selected_linear(centred[active.tokens], self.W_enc, self.b_enc, active.latents.unsqueeze(1)).squeeze(1)
        kept = (values > 0).nonzero().squeeze(1)
        return Pooled(active.texts[kept], active.latents[kept], values[kept], active.tokens[kept])

    def _search_factors(self, dtype: torch.dtype | None) -> Tensor:
        """Returns what latents are searched with; if it is kept, then until the weights change.

        A change is seen by the version that torch counts. Fused optimisers do not count theirs, so a pass with gradient
        forgets what was kept; writing through ``.data`` is not seen.
        """
        weights = (self.W_enc, self.b_enc)
        if torch.is_grad_enabled() or not self.keeps_factors or any(each.is_inference() for each in weights):
            self._kept = None
            return search_factors(*weights, dtype)
        made_of = (dtype, *((id(each), each.data_ptr(), each._version) for each in weights))
        kept = self._kept
        if kept is None or kept[0] != made_of:
            kept = made_of, search_factors(*weights, dtype), weights  # these too, so that no other gets their id
            self._kept = kept
        return kept[1]
