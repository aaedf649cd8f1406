"""The choice of device and number format."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from pyterrier_saesplade.checks import require_precision
from pyterrier_saesplade.errors import SettingError

if TYPE_CHECKING:
    from pyterrier_saesplade.types import Precision


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """Returns the given device; by default, the first GPU, or the CPU if there is none.

    Raises:
        SettingError: If the device does not exist.

    Examples:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    try:
        picked = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise SettingError(f"there is no device {device!r}: use a name such as cpu, cuda or cuda:1") from error
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise SettingError(f"there is no device {str(device)!r} here: {torch.cuda.device_count()} GPUs are visible")
    return picked


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Returns ``torch.bfloat16`` if it is requested or, for ``"auto"``, native to the device; otherwise ``None``.

    Raises:
        SettingError: If the precision is unknown.

    Examples:
        >>> pick_dtype("bfloat16", torch.device("cpu"))
        torch.bfloat16
    """
    require_precision(precision)
    if precision == "bfloat16" or (precision == "auto" and _has_bfloat16(device)):
        return torch.bfloat16
    return None


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which the backbone runs in ``dtype``; ``None`` for the data type of its weights."""
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without these instructions, bfloat16 is emulated and slower than float32.
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
