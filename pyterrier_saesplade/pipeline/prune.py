"""Keep the strongest latents of a text."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.impacts import Pruning
from pyterrier_saesplade.pipeline.quantizer import require_toks_column
from pyterrier_saesplade.pipeline.stage import Stage


class Prune(Stage):
    """Keeps the largest weights of each text and drops the rest; see :class:`~pyterrier_saesplade.Pruning`.

    On queries it bounds the time of a search, on documents the size of an index. An index prunes its documents by
    itself with ``model.indexer(path, pruning=Pruning(…))``, which also drops latents that are too frequent, and keeps
    account of what was removed.

    Args:
        k: Keeps the ``k`` largest weights.
        max_ratio: Keeps weights of at least this share of the text's largest.
        mass: Keeps the fewest largest weights whose sum reaches this share of the sum of all.
        threshold: Keeps weights of at least this much.
        column: ``"toks"`` for documents, ``"query_toks"`` for queries.
        verbose: Whether to show progress, and at its end how many weights were removed.

    Raises:
        ValueError: If no rule is given, or one is out of its range.

    Examples:
        >>> import pandas as pd
        >>> Prune(2)(pd.DataFrame([{"docno": "d1", "toks": {"c1": 0.5, "c2": 0.2, "c3": 1.5}}])).toks[0]
        {'c1': 0.5, 'c3': 1.5}
    """

    label: ClassVar[str] = "Prune"

    def __init__(
        self,
        k: int | None = None,
        *,
        max_ratio: float | None = None,
        mass: float | None = None,
        threshold: float | None = None,
        column: str = "toks",
        verbose: bool = False,
    ) -> None:
        require_toks_column(column)
        self.k = k
        self.max_ratio = max_ratio
        self.mass = mass
        self.threshold = threshold
        self.column = column
        self.verbose = verbose
        self._pruning = Pruning(k, max_ratio, mass, threshold)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with its column of weights pruned."""
        pt.validate.columns(inp, includes=[self.column])
        texts = [weights or {} for weights in inp[self.column]]
        toks = []
        with pt.tqdm(total=len(texts), desc="Pruning", unit="text", disable=not self.verbose) as bar:
            for weights in texts:
                toks.append(self._pruning.toks(weights))
                bar.update()
            given, kept = (sum(map(len, column)) for column in (texts, toks))
            bar.set_postfix_str(f"removed {given - kept:,} of {given:,} weights")
        return inp.assign(**{self.column: pd.Series(toks, index=inp.index, dtype=object)})
