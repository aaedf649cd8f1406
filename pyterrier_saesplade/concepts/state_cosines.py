"""How alike the token states of a backbone are: in a narrow cone, concepts are hard to tell apart."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice

import torch
from torch.nn.functional import normalize
from transformers import AutoTokenizer

from pyterrier_saesplade.encoding import pick_device, quiet_transformers
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.model import load_backbone

#: As many texts are read, unless others are asked for: the mean has settled by then.
MAX_TEXTS = 500

_BATCH = 32


def anisotropy(
    backbone: str | os.PathLike[str],
    texts: Iterable[str],
    *,
    max_texts: int = MAX_TEXTS,
    max_length: int = 128,
    device: str | torch.device | None = None,
) -> list[float]:
    """Computes the expected cosine of the states of two random tokens, for each layer of an encoder.

    It is the mean over all pairs of two tokens of the texts, not over a sample of them: with ``m`` the mean of the
    ``n`` states, each scaled to length 1, it is ``(n |m|² - 1) / (n - 1)``. Markers such as [CLS] are left out.

    Args:
        backbone: Folder or hub name of any encoder that ``AutoModel`` loads.
        texts: The texts, as many as there are up to ``max_texts``.
        max_texts: How many of them to read.
        max_length: Word pieces kept per text.
        device: Where to compute; ``None``: the first GPU, else the CPU.

    Returns:
        ``[layers + 1]``, the embeddings first: 0 if directions are evenly spread, 1 if all are the same.

    Raises:
        ValueError: If the texts have fewer than two word pieces, or the encoder lacks weights.
        OSError: If there is no such encoder.

    Examples:
        >>> cosines = anisotropy("distilbert-base-uncased", ["a text", "another text"])
        >>> len(cosines)  # the embeddings, then six layers
        7

    References:
        Ethayarajh, How Contextual are Contextualized Word Representations?, EMNLP 2019.
    """
    place = pick_device(device)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(backbone)
        model = load_backbone(backbone, "last").eval()
    torch.nn.Module.to(model, place)  # transformers' own has no type that takes a device
    longest = min(max_length, tokenizer.model_max_length)
    count, sums = 0, torch.zeros(0)
    chosen = list(islice(texts, max_texts))
    for start in range(0, len(chosen), _BATCH):
        encoded = tokenizer(
            chosen[start : start + _BATCH],
            truncation=True,
            max_length=longest,
            padding=True,
            return_special_tokens_mask=True,
            return_tensors="pt",
        ).to(place)
        kept = ~encoded.pop("special_tokens_mask").bool() & encoded["attention_mask"].bool()
        with torch.inference_mode():
            layers = model(**encoded, output_hidden_states=True).hidden_states
            # In double precision: a small difference of large sums is wanted.
            found = torch.stack([normalize(states[kept].double(), dim=-1).sum(0) for states in layers]).cpu()
        count, sums = count + int(kept.sum()), found if count == 0 else sums + found
    if count < 2:
        raise DataError("anisotropy is a mean over pairs of tokens: the texts have fewer than two word pieces")
    cosines: list[float] = ((sums.square().sum(-1) - count) / (count * (count - 1))).tolist()
    return cosines
