"""The encoder, which turns texts into concept vectors."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pyterrier_saesplade.encoding.precision import autocast, pick_device, pick_dtype
from pyterrier_saesplade.encoding.quiet import quiet_transformers
from pyterrier_saesplade.encoding.tokens import TextTokenizer
from pyterrier_saesplade.errors import ModelError
from pyterrier_saesplade.model import (
    Pooled,
    SaeSpladeConfig,
    SaeSpladeModel,
    loading,
    tokenizer_digest,
    weights_digest,
)
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pyterrier_saesplade.types import Precision, Side

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Word pieces per batch, including padding: enough to keep two cores busy, few enough for their caches.
BATCH_TOKENS = 4096
#: The number of texts sorted by length at a time.
WINDOW = 4096
#: The same when the states of all tokens are returned.
_STATES_WINDOW = 256


class EncodedTokens(NamedTuple):
    """The tokens of a text, with a separate vector for each token in context.

    Attributes:
        token_ids: ``[T]``, ids in the tokenizer's vocabulary.
        states: ``[T, d]``, the token states that the head reads.
        vectors: One row per token: the latents that it activates, weighted as if the token were a text.
    """

    token_ids: NDArray[np.int64]
    states: NDArray[np.float32]
    vectors: ConceptVectors


class Encoder:
    """A model with its tokenizer, ready to encode.

    Texts are sorted by length and batched by number of tokens, to minimise padding. Padding never reaches the head, and
    no dense row over the vocabulary is ever stored.

    The other texts in a batch affect a vector only through floating-point rounding, by up to 1e-5 of its largest
    weight. The effect is larger (bfloat16 has 8 significant bits) if the backbone runs in bfloat16, or if there is no
    TopK and bfloat16 is used to find the strongest token of a latent.

    Args:
        model: The network. It is moved to ``device`` and put in evaluation mode.
        tokenizer: Its tokenizer.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.
        precision: ``"auto"`` searches for candidate latents in bfloat16 where the device supports it natively, and
            selects among them in float32. (Without TopK, the search selects the token that gives a latent its weight;
            the weight may then be lower than in float32 by the rounding error of bfloat16.) ``"float32"`` searches in
            float32. ``"bfloat16"`` also runs the backbone under autocast, which is faster but less accurate.

    Examples:
        >>> encoder = Encoder.from_pretrained("my-model")
        >>> len(encoder.encode(["river bank", "young cat"], side="query"))
        2
    """

    def __init__(
        self,
        model: SaeSpladeModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str | torch.device | None = None,
        precision: Precision = "auto",
    ) -> None:
        self.device = pick_device(device)
        self.dtype = pick_dtype(precision, self.device)
        self.backbone_dtype = torch.bfloat16 if precision == "bfloat16" else None
        self.config: SaeSpladeConfig = model.config
        self.tokenizer = tokenizer
        self.tokenize = TextTokenizer(tokenizer, self.config)
        if not self.config.weights_digest:
            self.config.weights_digest = weights_digest(model)
        if not self.config.tokenizer_digest:
            self.config.tokenizer_digest = tokenizer_digest(tokenizer)
        self.model = model.to(self.device)  # type: ignore[arg-type]
        self.model.train(False)
        self.model.head.keeps_factors = True

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        width: int | None = None,
        device: str | torch.device | None = None,
        precision: Precision = "auto",
    ) -> Encoder:
        """Loads a SAE-SPLADE model from a folder or the hub; ``width`` restricts it to its first latents.

        Raises:
            ModelError: If the model cannot be loaded, or lacks weights.
            SettingError: If the model has fewer than ``width`` latents, or the device or precision is unknown.
        """
        with quiet_transformers(), loading(name_or_path):
            loaded: Any = SaeSpladeModel.from_pretrained(name_or_path, dtype=torch.float32, output_loading_info=True)
            model, report = loaded
            if report["missing_keys"]:
                raise ModelError(f"{name_or_path} lacks weights: {', '.join(sorted(report['missing_keys'])[:5])}")
            if width is not None:
                model.narrow(width)
            return cls(model, AutoTokenizer.from_pretrained(name_or_path), device=device, precision=precision)

    @classmethod
    def from_splade(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        precision: Precision = "auto",
        **settings: Any,
    ) -> Encoder:
        """Loads any SPLADE checkpoint; ``settings`` as in :meth:`SaeSpladeModel.from_splade`."""
        with quiet_transformers(), loading(name_or_path):
            model = SaeSpladeModel.from_splade(name_or_path, **settings)
            return cls(model, AutoTokenizer.from_pretrained(name_or_path), device=device, precision=precision)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Writes the model and its tokenizer to a folder that :meth:`from_pretrained` reads."""
        with quiet_transformers():
            self.model.save_pretrained(path)
            self.tokenizer.save_pretrained(path)
        for weights in Path(path).glob("*.safetensors"):
            shutil.copymode(Path(path) / "config.json", weights)  # safetensors makes its files private to the user

    @property
    def fingerprint(self) -> str:
        """Identifies the document vectors: see :meth:`SaeSpladeConfig.fingerprint`."""
        return self.config.fingerprint()

    def encode(
        self,
        texts: Sequence[str | None],
        *,
        side: Side,
        k: int | None = None,
        max_length: int | None = None,
        positions: bool = False,
        batch_tokens: int = BATCH_TOKENS,
        verbose: bool = False,
    ) -> ConceptVectors:
        """Encodes texts.

        Args:
            texts: The texts. The vector of ``None`` or a blank string is empty.
            side: Whether the texts are documents or queries.
            k: Latents kept per token; ``None`` for the configured number.
            max_length: The maximum number of word pieces per text, including markers; ``None`` for the configured one.
            positions: Whether to return the position of the token that gave each weight.
            batch_tokens: Word pieces per batch, including padding.
            verbose: Whether to show a progress bar.

        Returns:
            One row per text, in the same order, with float weights.
        """
        parts = []
        with tqdm(total=len(texts), desc=f"Encoding ({side})", unit="text", disable=not verbose) as bar:
            for ids in self._windows(texts, side, max_length):
                lengths = np.array([len(pieces) for pieces in ids])
                rows, order = [], []
                for batch in token_batches(lengths, batch_tokens):
                    rows.append(self._encode_batch([ids[i] for i in batch], side, k, positions))
                    order.append(batch)
                    bar.update(len(batch))
                parts.append(ConceptVectors.concatenate(rows).take(np.argsort(np.concatenate(order))))
        return ConceptVectors.concatenate(parts)

    def encode_tokens(
        self, texts: Sequence[str | None], *, side: Side, k: int | None = None, max_length: int | None = None
    ) -> Iterator[EncodedTokens]:
        """Encodes the tokens of texts separately. The maximum over a text's token vectors is the text's vector.

        Args:
            texts: The texts. ``None`` and blank strings have no tokens.
            side: Whether the texts are documents or queries.
            k: Latents kept per token; ``None`` for the configured number.
            max_length: The maximum number of word pieces per text, including markers; ``None`` for the configured one.

        Yields:
            The tokens of each text. Their indexes are the positions that :meth:`encode` returns.
        """
        for start in range(0, len(texts), _STATES_WINDOW):
            ids = self.tokenize(texts[start : start + _STATES_WINDOW], side, max_length)
            encoded: dict[int, EncodedTokens] = {}
            for batch in token_batches(np.array([len(pieces) for pieces in ids]), BATCH_TOKENS):
                pieces = [ids[i] for i in batch]
                states, vectors = self._encode_packed(pieces, side, k)
                bounds = np.cumsum([0, *map(len, pieces)])
                for i, first, last in zip(batch.tolist(), bounds[:-1], bounds[1:], strict=True):
                    rows = np.arange(first, last)
                    encoded[i] = EncodedTokens(np.array(ids[i], np.int64), states[first:last], vectors.take(rows))
            yield from (encoded[i] for i in range(len(ids)))

    def token_states(self, ids: list[list[int]]) -> Tensor:
        """Returns the token states ``[T, d]`` of one batch of tokenised, non-empty texts, concatenated."""
        input_ids, mask = pad(ids, self.tokenizer.pad_token_id or 0)
        tokens = mask.flatten().nonzero().squeeze(1)  # computed on the CPU, to avoid a synchronisation with the GPU
        inputs = [self._to_device(tensor) for tensor in (input_ids, mask, tokens)]
        with torch.inference_mode(), autocast(self.device, self.backbone_dtype):
            states: Tensor = self.model.token_states(*inputs)
            return states

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Copies a tensor to the device; pinned memory lets a GPU copy while it computes."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _windows(self, texts: Sequence[str | None], side: Side, max_length: int | None) -> Iterator[list[list[int]]]:
        """Tokenises the texts, one window at a time; with a GPU, the next window is tokenised in the background."""
        windows = [texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW)]
        if self.device.type == "cpu":
            yield from (self.tokenize(window, side, max_length) for window in windows)
        else:
            yield from _ahead(lambda window: self.tokenize(window, side, max_length), windows)

    def _encode_packed(
        self, ids: list[list[int]], side: Side, k: int | None
    ) -> tuple[NDArray[np.float32], ConceptVectors]:
        """Returns the states and the vectors of all tokens, each pooled as a text of one token."""
        if not any(ids):
            return np.empty((0, int(self.model.backbone.config.hidden_size)), np.float32), ConceptVectors.from_rows([])
        states = self.token_states([pieces for pieces in ids if pieces])
        bounds = np.arange(len(states) + 1)
        with torch.inference_mode():
            k = self.config.k if k is None else k
            pooled = self.model.pool(states, bounds.tolist(), k, side=side, dtype=self.dtype)
        return states.float().cpu().numpy(), _to_numpy(pooled, bounds, positions=False)

    def _encode_batch(self, ids: list[list[int]], side: Side, k: int | None, positions: bool) -> ConceptVectors:
        bounds = np.cumsum([0, *map(len, ids)])
        if bounds[-1] == 0:
            return _to_numpy(Pooled(*(torch.empty(0, dtype=torch.long) for _ in range(4))), bounds, positions)
        states = self.token_states([pieces for pieces in ids if pieces])
        with torch.inference_mode():
            k = self.config.k if k is None else k
            pooled = self.model.pool(states, bounds.tolist(), k, side=side, dtype=self.dtype)
        return _to_numpy(pooled, bounds, positions)


def _ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields ``work(item)`` for each item, in order, computing the next result in a background thread."""
    with ThreadPoolExecutor(1) as thread:
        waiting: Future[Result] | None = None
        for item in items:
            following = thread.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def token_batches(lengths: NDArray[np.integer[Any]], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Splits texts into batches of at most ``batch_tokens`` after padding, longest texts first.

    Args:
        lengths: ``[n]``, the number of word pieces of each text.
        batch_tokens: The maximum size of a batch. A longer text forms a batch alone.

    Yields:
        The indexes of the texts in a batch. Each text is in exactly one batch.

    Examples:
        >>> [batch.tolist() for batch in token_batches(np.array([2, 5, 3]), batch_tokens=8)]
        [[1], [2, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        stop = start + max(1, batch_tokens // longest)
        yield order[start:stop]
        start = stop


def pad(ids: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Returns the token ids and the attention mask, ``[B, L]`` each, padded on the right.

    Examples:
        >>> ids, mask = pad([[5, 6], [7]], pad_id=0)
        >>> ids.tolist(), mask.tolist()
        ([[5, 6], [7, 0]], [[1, 1], [1, 0]])
    """
    lengths = np.array([len(pieces) for pieces in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full(mask.shape, pad_id)
    padded[mask] = list(chain.from_iterable(ids))
    return torch.from_numpy(padded), torch.from_numpy(mask.astype(np.int64))


def _to_numpy(pooled: Pooled, bounds: NDArray[np.int64], positions: bool) -> ConceptVectors:
    texts, latents, weights, tokens = (tensor.cpu().numpy() for tensor in pooled)
    indptr = np.searchsorted(texts, np.arange(len(bounds)))
    within = (tokens - bounds[:-1][texts]).astype(np.int32) if positions else None
    return ConceptVectors(indptr.astype(np.int64), latents.astype(np.int32), weights.astype(np.float32), within)
