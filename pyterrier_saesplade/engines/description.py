"""The description in the folder of an index, the same for all engines. Does not import PyTerrier."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyterrier_saesplade.files import installed_versions, read_json, write_artifact_metadata
from pyterrier_saesplade.impacts import LatentStatistics, Quantization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pyterrier_saesplade.protocols import IndexedModel
    from pyterrier_saesplade.types import Weighting
    from pyterrier_saesplade.vectors import ConceptVectors

#: Levels per unit of query weight. Queries take no space in an index, so their grid is finer than that of documents.
QUERY_SCALE = 100.0

STATISTICS = "statistics.npz"
TERMS = "terms.json"
_DOCNOS = "docnos.json"

_PACKAGES = ("pyterrier_saesplade", "pyterrier", "torch", "transformers")


def write_docnos(folder: Path, docnos: Sequence[str]) -> None:
    """Writes the docnos for an engine that identifies documents by number.

    Examples:
        >>> write_docnos(Path("."), ["d1", "d2"])
        >>> read_docnos(Path("."))
        ['d1', 'd2']
    """
    (folder / _DOCNOS).write_text(json.dumps(docnos), encoding="utf-8")


def read_docnos(folder: Path) -> list[str]:
    """Reads the docnos that :func:`write_docnos` wrote."""
    docnos: list[str] = read_json(folder / _DOCNOS)
    return docnos


def prepare_queries(
    queries: ConceptVectors, weighting: Weighting, statistics: LatentStatistics, query_scale: float | None
) -> ConceptVectors:
    """Returns query vectors as an index requires them: weighted, then quantised if the index holds integers.

    Args:
        queries: Float vectors.
        weighting: ``"idf"`` or ``"none"``.
        statistics: Document frequencies of the latents.
        query_scale: Levels per unit of query weight; ``None`` keeps floats.

    Examples:
        >>> statistics = LatentStatistics(np.array([0, 1]), n_docs=2)
        >>> queries = ConceptVectors.from_rows([([1], [2.0])])
        >>> prepare_queries(queries, "idf", statistics, query_scale=100).weights
        array([139], dtype=int32)
        >>> prepare_queries(queries, "none", statistics, query_scale=None).weights
        array([2.], dtype=float32)
    """
    if weighting == "idf":
        queries = statistics.weigh(queries)
    return queries if query_scale is None else Quantization(query_scale).quantize(queries)


def write_metadata(
    folder: Path,
    kind: str,
    engine: str,
    model: IndexedModel,
    statistics: LatentStatistics,
    n_postings: int,
    quantization: Quantization | None,
    pruning: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> None:
    """Writes what every engine stores: statistics, names of the latents and, last, the description.

    Args:
        folder: An existing folder.
        kind: The type of the artifact.
        engine: The format of the artifact.
        model: The model that encoded the documents.
        statistics: Document frequencies of the stored postings.
        n_postings: Number of stored postings.
        quantization: How weights were converted to integers; ``None`` if they are floats.
        pruning: What was removed before, and by which settings; ``None`` if nothing was.
        versions: Versions of the engine's own software.
    """
    terms = model.terms
    statistics.save(folder / STATISTICS)
    (folder / TERMS).write_text(json.dumps(terms.pieces), encoding="utf-8")
    write_artifact_metadata(
        folder,
        kind,
        engine,
        installed_versions(_PACKAGES) | dict(versions or {}),
        model=str(model),
        fingerprint=model.fingerprint,
        width=len(terms),
        weighting=model.weighting,
        quantization=None if quantization is None else {"scale": quantization.scale, "clip": quantization.clip},
        query_scale=None if quantization is None else QUERY_SCALE,
        pruning=pruning,
        n_docs=statistics.n_docs,
        n_postings=n_postings,
    )
