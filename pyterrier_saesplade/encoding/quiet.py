"""Keeps transformers from drawing progress bars of its own when it loads or saves a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from transformers.utils import logging


@contextlib.contextmanager
def no_progress() -> Iterator[None]:
    """Turns transformers' progress bars off, and on again if they were on."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
