"""Prunes the weights of texts."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.checks import require_share
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import Pruning, as_toks
from pyterrier_saesplade.pipeline.quantizer import require_toks_column
from pyterrier_saesplade.pipeline.stage import CollectionStatistics, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping


class Prune(Stage):
    """Keeps the largest weights of each text and drops the rest; see :class:`~pyterrier_saesplade.Pruning`.

    Pruning queries limits the time of a search; pruning documents limits the size of an index. An indexer can prune
    documents itself with ``model.indexer(path, pruning=Pruning(…), max_df=…)``, and the index records what was removed.
    Frequent latents are dropped before the other rules apply.

    Args:
        k: Keeps the ``k`` largest weights.
        max_ratio: Keeps weights of at least this share of the largest weight of the text.
        mass: Keeps the smallest number of largest weights that together reach this share of the sum of all weights.
        threshold: Keeps weights of at least this value.
        max_df: Drops latents that occur in more than this share of the documents of ``statistics``.
        statistics: The source of the document frequencies: an index of concept vectors. Latents that the index itself
            dropped count as frequent.
        column: ``"toks"`` for documents, ``"query_toks"`` for queries.
        verbose: Whether to show progress, and at the end how many weights were removed.

    Raises:
        SettingError: If no rule is given, a rule is out of range, or ``max_df`` is given without ``statistics``.

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
        max_df: float | None = None,
        statistics: CollectionStatistics | None = None,
        column: str = "toks",
        verbose: bool = False,
    ) -> None:
        require_toks_column(column)
        self.k = k
        self.max_ratio = max_ratio
        self.mass = mass
        self.threshold = threshold
        self.max_df = max_df
        self.statistics = statistics
        self.column = column
        self.verbose = verbose
        require_share(max_df=max_df)
        if (max_df is None) != (statistics is None):
            raise SettingError("max_df and statistics go together: pass a share and an index, or neither")
        rules = (k, max_ratio, mass, threshold)
        # Without any rule, Pruning raises the error.
        self._pruning = None if rules == (None,) * 4 and max_df is not None else Pruning(*rules)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with pruned weights."""
        pt.validate.columns(inp, includes=[self.column])
        texts = as_toks(inp[self.column])
        toks = []
        with pt.tqdm(total=len(texts), desc="Pruning", unit="text", disable=not self.verbose) as bar:
            for weights in texts:
                toks.append(self._prune(weights))
                bar.update()
            given, kept = (sum(map(len, column)) for column in (texts, toks))
            bar.set_postfix_str(f"removed {given - kept:,} of {given:,} weights")
        return inp.assign(**{self.column: pd.Series(toks, index=inp.index, dtype=object)})

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns an empty dictionary: the index only provides counts and is not part of the pipeline."""
        return {}

    def _prune(self, weights: Mapping[str, float]) -> Mapping[str, float]:
        if self._frequent:
            weights = {term: weight for term, weight in weights.items() if term not in self._frequent}
        return weights if self._pruning is None else self._pruning.prune_toks(weights)

    @cached_property
    def _frequent(self) -> frozenset[str]:
        if self.max_df is None or self.statistics is None:
            return frozenset()
        frequent = self.statistics.statistics.frequent(self.max_df)
        return frozenset(map(self.statistics.terms.name, frequent.tolist()))
