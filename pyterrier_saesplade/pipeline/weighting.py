"""Latent idf, as a stage."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.impacts import from_float_toks, to_toks
from pyterrier_saesplade.pipeline.stage import CollectionStatistics, Stage


class LatentWeighting(Stage):
    """Multiplies the weights of ``query_toks`` by the latents' idf in a collection.

    Common latents say little, as common words do. A model that was pre-trained but not fine-tuned needs this; an index
    of such a model does it by itself, so the stage is for engines that are searched without this package.

    Args:
        collection: Whose document frequencies count: an index of concept vectors.

    Raises:
        AlreadyQuantizedError: When a query's weights are integers: idf comes before quantisation.

    Examples:
        >>> terrier = pt.terrier.TerrierIndex("own.terrier")
        >>> built = (model.doc_encoder() >> terrier.toks_indexer()).index(documents)
        >>> pipeline = model.query_encoder() >> LatentWeighting(index) >> terrier.tf()
    """

    label: ClassVar[str] = "Latent idf"

    def __init__(self, collection: CollectionStatistics) -> None:
        self.collection = collection

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with ``query_toks`` weighted; pseudo-terms that the collection's model lacks are dropped."""
        pt.validate.columns(inp, includes=["query_toks"])
        if inp.empty:
            return inp.assign(query_toks=inp["query_toks"].astype(object))
        queries = from_float_toks(inp["query_toks"], self.collection.terms)
        weighted = self.collection.statistics.weigh(queries)
        toks = to_toks(weighted, self.collection.terms)
        return inp.assign(query_toks=pd.Series(toks, index=inp.index, dtype=object))

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns none: the index is where the counts come from, not a part of the pipeline."""
        return {}
