"""What a folder of documents' vectors says of itself, and what follows for queries."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyterrier_saesplade.checks import require_same_model
from pyterrier_saesplade.engines.description import STATISTICS, TERMS
from pyterrier_saesplade.errors import PathNotFoundError, SettingError
from pyterrier_saesplade.files import METADATA
from pyterrier_saesplade.impacts import LatentStatistics, Quantization, Terms, to_toks
from pyterrier_saesplade.types import Weighting
from pyterrier_saesplade.vectors import ConceptVectors


@dataclass(frozen=True)
class Description:
    """How the documents of an index were encoded, and how its queries have to be.

    Attributes:
        model: The name of the model that encoded the documents.
        fingerprint: What identifies it.
        terms: The names of its latents.
        weighting: What queries are multiplied by.
        statistics: Document frequencies of the latents.
        query_scale: Levels per unit of a query's weight.
    """

    model: str
    fingerprint: str
    terms: Terms
    weighting: Weighting
    statistics: LatentStatistics
    query_scale: float

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Description:
        """Reads it from an index that this package built, or from exported vectors.

        Raises:
            FileNotFoundError: If the folder has none, or only a part of it.
            ValueError: If it is of vectors that were not quantised.
        """
        folder = Path(folder)
        try:
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            pieces = json.loads((folder / TERMS).read_text(encoding="utf-8"))
            statistics = LatentStatistics.load(folder / STATISTICS)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PathNotFoundError(
                f"{folder} does not say how its vectors were made ({METADATA}, {TERMS}, {STATISTICS}): name a folder "
                "that python -m pyserini_bridge.index or saesplade export wrote"
            ) from error
        if metadata["query_scale"] is None:
            raise SettingError(f"the weights in {folder} are floats; Anserini's are integers")
        return cls(
            metadata["model"],
            metadata["fingerprint"],
            Terms(metadata["width"], pieces),
            metadata["weighting"],
            statistics,
            metadata["query_scale"],
        )

    def check(self, model: str, fingerprint: str) -> None:
        """Raises :exc:`ModelMismatchError` unless the documents were encoded by the model of this fingerprint."""
        require_same_model(
            f"{model}, which encodes the queries,",
            fingerprint,
            f"{self.model}, which encoded the documents,",
            self.fingerprint,
            "use the model that encoded the documents",
        )

    def query_impacts(self, queries: ConceptVectors) -> list[dict[str, int]]:
        """Returns the weights of queries as Anserini takes them: multiplied by idf if need be, then quantised."""
        if self.weighting == "idf":
            queries = self.statistics.weigh(queries)
        return impacts(queries, self.terms, Quantization(self.query_scale))


def impacts(vectors: ConceptVectors, terms: Terms, quantization: Quantization) -> list[dict[str, int]]:
    """Quantises float vectors, and names their latents."""
    quantised = to_toks(quantization.quantize(vectors), terms)
    return [{name: int(weight) for name, weight in toks.items()} for toks in quantised]


def require_whole_terms(terms: Terms, statistics: LatentStatistics) -> None:
    """Raises :exc:`ValueError` if a term that occurs in documents holds a blank, at which Anserini would cut it."""
    for latent in np.flatnonzero(statistics.df).tolist():
        name = terms.name(latent)
        if name.split() != [name]:
            raise SettingError(f"the word piece {name!r} holds a blank: Anserini can't index it")
