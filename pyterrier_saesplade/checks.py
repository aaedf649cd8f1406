"""Validation of settings. Each error names the setting and its value."""

from __future__ import annotations

from typing import get_args

from pyterrier_saesplade.errors import ModelMismatchError, SettingError
from pyterrier_saesplade.types import Precision


def require_positive(**settings: int | None) -> None:
    """Raises a :exc:`SettingError` for the first setting that is neither ``None`` nor a positive integer.

    Examples:
        >>> require_positive(k=8, width=None)
        >>> require_positive(k=0)
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: k must be a positive integer, not 0
    """
    for name, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise SettingError(f"{name} must be a positive integer, not {value!r}")


def require_share(**settings: float | None) -> None:
    """Raises a :exc:`SettingError` for the first setting that is neither ``None`` nor in (0, 1].

    Examples:
        >>> require_share(mass=1.5)
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: mass must be above 0 and at most 1, not 1.5
    """
    for name, value in settings.items():
        if value is not None and not 0 < value <= 1:
            raise SettingError(f"{name} must be above 0 and at most 1, not {value!r}")


def require_same_model(given: str, fingerprint: str, other: str, expected: str, remedy: str) -> None:
    """Raises a :exc:`ModelMismatchError` if two things that are used together come from different models.

    Args:
        given: The name of the first in the message.
        fingerprint: The fingerprint of its model.
        other: The name of the second in the message.
        expected: The fingerprint of its model.
        remedy: What to do, for the message.

    Examples:
        >>> require_same_model("the queries", "0123456789ab", "my-index", "ba9876543210", "encode them again")
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.ModelMismatchError: the queries (fingerprint 01234567…) and my-index ...
    """
    if fingerprint != expected:
        raise ModelMismatchError(
            f"{given} (fingerprint {fingerprint[:8]}…) and {other} (fingerprint {expected[:8]}…) come from different "
            f"models: {remedy}"
        )


def require_precision(precision: str) -> None:
    """Raises a :exc:`SettingError` if the precision is unknown.

    Examples:
        >>> require_precision("float16")
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.SettingError: precision must be one of auto, float32, bfloat16, not 'float16'
    """
    if precision not in get_args(Precision):
        raise SettingError(f"precision must be one of {', '.join(get_args(Precision))}, not {precision!r}")
