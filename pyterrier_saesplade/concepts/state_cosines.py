"""The anisotropy of a backbone: if all token states point in similar directions, concepts are hard to distinguish."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize
from transformers import AutoTokenizer

from pyterrier_saesplade.encoding import pick_device, quiet_transformers
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.model import check_encoder, load_backbone

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

#: The default number of texts, which is enough for the mean to converge.
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

    The result is the mean over all pairs of tokens in the texts, not over a sample of pairs. It is
    ``(n |m|² - 1) / (n - 1)``, where ``m`` is the mean of the ``n`` states after each is scaled to length 1. Special
    tokens such as [CLS] are left out.

    Args:
        backbone: Folder or hub name of any encoder that ``AutoModel`` loads.
        texts: The texts.
        max_texts: The maximum number of texts to read.
        max_length: The maximum number of word pieces per text.
        device: Where to compute; ``None`` for the first GPU, or the CPU if there is none.

    Returns:
        ``[layers + 1]`` cosines, starting with the embeddings: 0 if directions are evenly spread, 1 if all are equal.

    Raises:
        DataError: If the texts have fewer than two word pieces.
        ModelError: If the encoder lacks weights.
        SettingError: If the device does not exist.
        PathNotFoundError: If there is no such encoder.

    Examples:
        >>> cosines = anisotropy("distilbert-base-uncased", ["a text", "another text"])
        >>> len(cosines)  # the embeddings, then six layers
        7

    References:
        Ethayarajh, How Contextual are Contextualized Word Representations?, EMNLP 2019.
    """
    chosen_device = pick_device(device)
    check_encoder(str(backbone))
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(backbone)
        model = load_backbone(backbone, "last").eval()
    torch.nn.Module.to(model, chosen_device)  # the type annotations of PreTrainedModel.to do not accept a device
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
        ).to(chosen_device)
        kept = ~encoded.pop("special_tokens_mask").bool() & encoded["attention_mask"].bool()
        with torch.inference_mode():
            layers = model(**encoded, output_hidden_states=True).hidden_states
            # In double precision, because the result is a small difference of large sums.
            found = torch.stack([normalize(states[kept].double(), dim=-1).sum(0) for states in layers]).cpu()
        count, sums = count + int(kept.sum()), found if count == 0 else sums + found
    if count < 2:
        raise DataError(f"anisotropy needs at least two word pieces: the texts have {count}")
    cosines: list[float] = ((sums.square().sum(-1) - count) / (count * (count - 1))).tolist()
    return cosines
