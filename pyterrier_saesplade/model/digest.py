"""Digests that identify a model and its tokenizer."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def weights_digest(model: nn.Module) -> str:
    """Returns the SHA-256 of the weights that affect concept vectors: all except the decoder's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name != "head.W_dec":
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # Flattened first, because a scalar cannot be viewed as bytes.
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the SHA-256 of the tokenizer's vocabulary and rules, without its truncation and padding settings."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocabulary": tokenizer.get_vocab()}
    for transient in ("truncation", "padding"):
        rules.pop(transient, None)
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()
