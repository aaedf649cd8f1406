"""Search with any engine: weights and quantises queries, and returns scores in units of weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyterrier as pt

from pyterrier_saesplade.checks import require_positive, require_same_model
from pyterrier_saesplade.engines.frames import Hits, result_frame
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.impacts import FINGERPRINT, from_float_toks
from pyterrier_saesplade.pipeline import Stage
from pyterrier_saesplade.vectors import ConceptVectors

if TYPE_CHECKING:
    import pandas as pd

    from pyterrier_saesplade.engines.index import ConceptIndex
    from pyterrier_saesplade.types import Weighting

#: Number of queries that are searched between two updates of the progress bar.
_CHUNK = 64


class ConceptRetriever(Stage):
    """Searches an index with ``query_toks``.

    Scores are dot products in units of weight: with an index of integers, a score is the integer dot product divided by
    both scales. A query that shares no latent with the index has no row in the result. Ties are ranked in indexing
    order. Queries must come from the model that built the index. This is checked if the frame comes from a query
    encoder or from ``read_queries``; it cannot be checked for lists of dictionaries or joined frames.

    Args:
        index: The index.
        num_results: Maximum number of documents per query.
        weighting: ``"idf"`` or ``"none"``; ``None`` uses the weighting of the index.
        verbose: Whether to show progress.

    Raises:
        AlreadyQuantizedError: If the weights of a query are integers, because idf must be applied before quantisation.
        ModelMismatchError: If another model encoded the queries.
        SettingError: If ``num_results`` is not positive, or the weighting is unknown.

    Examples:
        >>> pipeline = model.query_encoder() >> ConceptRetriever(index, num_results=3)
        >>> pipeline.search("young cat")["rank"].tolist()
        [0, 1, 2]
    """

    label: ClassVar[str] = "Concept retriever"

    def __init__(
        self, index: ConceptIndex, num_results: int = 1000, *, weighting: Weighting | None = None, verbose: bool = False
    ) -> None:
        # Parameter grids are often numpy ranges.
        num_results = int(num_results) if isinstance(num_results, np.integer) else num_results
        require_positive(num_results=num_results)
        if weighting not in (None, "idf", "none"):
            raise SettingError(f"weighting must be 'idf', 'none' or None (that of the index), not {weighting!r}")
        self.index = index
        self.num_results = num_results
        self.weighting = weighting
        self.verbose = verbose

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns one row per query and document found: the query's columns, ``docno``, ``score`` and ``rank``."""
        pt.validate.query_frame(inp, extra_columns=["query_toks"])
        self._check_encoded(inp)
        queries = self._prepare(inp["query_toks"]) if len(inp) else ConceptVectors.from_rows([])
        with pt.tqdm(total=len(queries), desc="Searching", unit="query", disable=not self.verbose) as bar:
            hits: list[Hits] = []
            for start in range(0, len(queries), _CHUNK):
                chunk = queries.take(np.arange(start, min(start + _CHUNK, len(queries))))
                hits += self.index.search(chunk, self.num_results)
                bar.update(len(chunk))
        scale = self.index.score_scale
        return result_frame(inp, [Hits(found.docnos, found.scores / scale) for found in hits])

    def fuse_rank_cutoff(self, k: int) -> ConceptRetriever | None:
        """Returns a retriever that finds only as many documents as the rank cut-off that follows it keeps."""
        if k < 1:
            return None  # the cut-off itself must return the empty ranking
        if k >= self.num_results:
            return self
        return ConceptRetriever(self.index, k, weighting=self.weighting, verbose=self.verbose)

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns an empty dictionary: the index is not a transformer."""
        return {}

    def _check_encoded(self, inp: pd.DataFrame) -> None:
        require_same_model(
            "the queries",
            inp.attrs.get(FINGERPRINT, self.index.fingerprint),
            f"{self.index.path}, built with {self.index.metadata['model']},",
            self.index.fingerprint,
            "use the query encoder of the model that built the index, with the same k and doc_max_length (to reduce "
            "the latents of queries only, use query_encoder(k=…))",
        )

    def _prepare(self, query_toks: pd.Series) -> ConceptVectors:
        return self.index.prepare_queries(from_float_toks(query_toks, self.index.terms), self.weighting)
