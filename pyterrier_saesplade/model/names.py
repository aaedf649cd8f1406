"""Names of models, where both SAE-SPLADE models and SPLADE checkpoints are accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from pyterrier_saesplade.types import Head

_SPLADE = "splade="


def parse_model_name(name: str | os.PathLike[str]) -> tuple[str, Head]:
    """Splits a model name into folder or hub name and head; ``splade=NAME`` is a SPLADE checkpoint.

    Examples:
        >>> parse_model_name("splade=naver/splade-v3")
        ('naver/splade-v3', 'mlm')
        >>> parse_model_name("my-model")
        ('my-model', 'sae')
    """
    text = str(name)
    return (text.removeprefix(_SPLADE), "mlm") if text.startswith(_SPLADE) else (text, "sae")
