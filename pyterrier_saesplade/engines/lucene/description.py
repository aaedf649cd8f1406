"""How the documents of an index were encoded, and what that requires of queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyterrier_saesplade.checks import require_same_model
from pyterrier_saesplade.engines.description import STATISTICS, TERMS, prepare_queries
from pyterrier_saesplade.errors import DataError, PathNotFoundError
from pyterrier_saesplade.files import METADATA, read_json
from pyterrier_saesplade.impacts import LatentStatistics, Quantization, Terms, to_toks

if TYPE_CHECKING:
    import os

    from pyterrier_saesplade.types import Weighting
    from pyterrier_saesplade.vectors import ConceptVectors


@dataclass(frozen=True)
class Description:
    """How the documents of an index were encoded, and how its queries must be encoded.

    Attributes:
        model: The name of the model that encoded the documents.
        fingerprint: The fingerprint of that model.
        terms: The names of its latents.
        weighting: What query weights are multiplied by.
        statistics: Document frequencies of the latents.
        query_scale: Levels per unit of query weight.
    """

    model: str
    fingerprint: str
    terms: Terms
    weighting: Weighting
    statistics: LatentStatistics
    query_scale: float

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Description:
        """Reads the description of an index that this package built, or of exported vectors.

        Raises:
            PathNotFoundError: If the folder has no description, or an incomplete one.
            DataError: If the vectors were not quantised, or a file is damaged.
        """
        folder = Path(folder)
        try:
            metadata = read_json(folder / METADATA)
            pieces = read_json(folder / TERMS)
            statistics = LatentStatistics.load(folder / STATISTICS)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PathNotFoundError(
                f"{folder} lacks the files that describe its vectors ({METADATA}, {TERMS}, {STATISTICS}): choose a "
                "folder that python -m pyserini_bridge.index or saesplade export wrote"
            ) from error
        if metadata["query_scale"] is None:
            raise DataError(f"the weights in {folder} are floats, but Anserini needs integers")
        return cls(
            metadata["model"],
            metadata["fingerprint"],
            Terms(metadata["width"], pieces),
            metadata["weighting"],
            statistics,
            metadata["query_scale"],
        )

    def check(self, model: str, fingerprint: str) -> None:
        """Raises a :exc:`ModelMismatchError` unless the model with this fingerprint encoded the documents."""
        require_same_model(
            f"{model}, which encodes the queries,",
            fingerprint,
            f"{self.model}, which encoded the documents,",
            self.fingerprint,
            "use the model that encoded the documents",
        )

    def query_impacts(self, queries: ConceptVectors) -> list[dict[str, int]]:
        """Returns the integer term weights of queries, weighted as the index requires."""
        return _by_name(prepare_queries(queries, self.weighting, self.statistics, self.query_scale), self.terms)


def impacts(vectors: ConceptVectors, terms: Terms, quantization: Quantization) -> list[dict[str, int]]:
    """Quantises float vectors and names their latents.

    Examples:
        >>> vectors = ConceptVectors.from_rows([([0, 2], [1.0, 0.25])])
        >>> impacts(vectors, Terms(3), Quantization(scale=10))
        [{'c0': 10, 'c2': 3}]
    """
    return _by_name(quantization.quantize(vectors), terms)


def _by_name(impacts: ConceptVectors, terms: Terms) -> list[dict[str, int]]:
    return [{name: int(weight) for name, weight in toks.items()} for toks in to_toks(impacts, terms)]


def require_whole_terms(terms: Terms, statistics: LatentStatistics) -> None:
    """Raises a :exc:`DataError` if a term of the documents contains white space, where Anserini would split it."""
    for latent in np.flatnonzero(statistics.df).tolist():
        name = terms.name(latent)
        if name.split() != [name]:
            raise DataError(
                f"the word piece {name!r} contains white space, so Anserini cannot index it: use another engine"
            )
