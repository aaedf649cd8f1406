"""Multiplies query weights by latent idf."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyterrier as pt

from pyterrier_saesplade.impacts import from_float_toks, to_toks
from pyterrier_saesplade.pipeline.stage import CollectionStatistics, Stage


class LatentWeighting(Stage):
    """Multiplies the weights of ``query_toks`` by the idf of the latents in a collection.

    Like common words, common latents say little about relevance. Models that were pre-trained but not fine-tuned need
    this weighting. An index of such a model applies it automatically, so this stage is for engines that are searched
    without this package.

    Args:
        collection: The source of the document frequencies: an index of concept vectors.

    Raises:
        AlreadyQuantizedError: If query weights are integers, because idf must be applied before quantisation.

    Examples:
        >>> terrier = pt.terrier.TerrierIndex("own.terrier")
        >>> built = (model.doc_encoder() >> terrier.toks_indexer()).index(documents)
        >>> pipeline = model.query_encoder() >> LatentWeighting(index) >> terrier.tf()
    """

    label: ClassVar[str] = "Latent idf"

    def __init__(self, collection: CollectionStatistics) -> None:
        self.collection = collection

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Returns ``inp`` with weighted ``query_toks``. Terms that the model of the collection lacks are dropped."""
        pt.validate.columns(inp, includes=["query_toks"])
        if inp.empty:
            return inp.assign(query_toks=inp["query_toks"].astype(object))
        queries = from_float_toks(inp["query_toks"], self.collection.terms)
        weighted = self.collection.statistics.weigh(queries)
        toks = to_toks(weighted, self.collection.terms)
        return inp.assign(query_toks=pd.Series(toks, index=inp.index, dtype=object))

    def subtransformers(self) -> dict[str, pt.Transformer]:
        """Returns an empty dictionary: the index only provides counts and is not part of the pipeline."""
        return {}
