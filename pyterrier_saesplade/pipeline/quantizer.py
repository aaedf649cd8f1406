"""Converts float weights to impacts."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import Quantization, as_toks
from pyterrier_saesplade.pipeline.stage import Stage


class Quantizer(Stage):
    """Converts the float weights of ``toks`` (or ``query_toks``) to integer impacts.

    Args:
        scale: Levels per unit of weight. The default suits Terrier.
        clip: The largest impact, for engines that limit impacts; ``None`` for no limit.
        column: ``"toks"`` or ``"query_toks"``.
        verbose: Whether to show progress.

    Raises:
        AlreadyQuantizedError: If the weights of a text are already integers.
        SettingError: If a setting is out of range.

    Examples:
        >>> import pandas as pd
        >>> Quantizer(10)(pd.DataFrame([{"docno": "d1", "toks": {"c1": 0.04, "c3": 1.26}}])).toks[0]
        {'c3': 13}
    """

    label: ClassVar[str] = "Quantize"

    def __init__(
        self,
        scale: float = Quantization.scale,
        *,
        clip: int | None = Quantization.clip,
        column: str = "toks",
        verbose: bool = False,
    ) -> None:
        require_toks_column(column)
        self.scale = scale
        self.clip = clip
        self.column = column
        self.verbose = verbose
        self._quantization = Quantization(scale, clip)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with quantised weights."""
        pt.validate.columns(inp, includes=[self.column])
        column = pt.tqdm(as_toks(inp[self.column]), desc="Quantizing", unit="text", disable=not self.verbose)
        toks = [self._quantization.quantize_toks(weights) for weights in column]
        return inp.assign(**{self.column: pd.Series(toks, index=inp.index, dtype=object)})


def require_toks_column(column: str) -> None:
    """Raises a :exc:`SettingError` unless ``column`` is ``"toks"`` or ``"query_toks"``."""
    if column not in ("toks", "query_toks"):
        raise SettingError(f"column must be 'toks' (documents) or 'query_toks' (queries), not {column!r}")
