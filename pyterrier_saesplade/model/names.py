"""How models are named where a SAE-SPLADE model and a SPLADE checkpoint may stand for each other."""

from __future__ import annotations

import os

from pyterrier_saesplade.types import Head

_SPLADE = "splade="


def parse_model_name(name: str | os.PathLike[str]) -> tuple[str, Head]:
    """Returns the folder or hub name, and the head: ``splade=NAME`` names a SPLADE checkpoint.

    Examples:
        >>> parse_model_name("splade=naver/splade-v3")
        ('naver/splade-v3', 'mlm')
        >>> parse_model_name("my-model")
        ('my-model', 'sae')
    """
    text = str(name)
    return (text.removeprefix(_SPLADE), "mlm") if text.startswith(_SPLADE) else (text, "sae")
