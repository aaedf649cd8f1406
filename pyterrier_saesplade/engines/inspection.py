"""Reports what an index or a store of concept vectors contains."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.engines.indexer import open_index
from pyterrier_saesplade.errors import DataError, PathNotFoundError
from pyterrier_saesplade.files import read_metadata, size_on_disk
from pyterrier_saesplade.impacts import LatentStatistics, Quantization, Terms
from pyterrier_saesplade.store import STORE_TYPE, StoredVectors

if TYPE_CHECKING:
    import os

    from pyterrier_saesplade.types import Weighting


@dataclass(frozen=True)
class Inspection:
    """The contents of an index or a store.

    Attributes:
        path: The folder.
        kind: ``"index"`` or ``"store"``.
        format: The engine of an index, or the file format of a store.
        model: The name of the model.
        fingerprint: The fingerprint of the model.
        width: Number of latents, M.
        weighting: What query weights are multiplied by in a search.
        quantization: How weights were converted to integers; ``None`` if they are floats.
        pruning: What was removed, and by which settings, as recorded in the index; ``None`` if nothing was.
        n_docs: Number of documents, including empty ones.
        n_postings: Number of pairs of a document and a latent.
        size: Size on disk in bytes.
        latents_in_use: Number of latents that occur in at least one document.
        most_frequent: Names and document frequencies of the most frequent latents.
        versions: Versions of the packages that wrote the folder.
    """

    path: Path
    kind: str
    format: str
    model: str
    fingerprint: str
    width: int
    weighting: Weighting
    quantization: Quantization | None
    pruning: dict[str, Any] | None
    n_docs: int
    n_postings: int
    size: int
    latents_in_use: int
    most_frequent: tuple[tuple[str, int], ...]
    versions: dict[str, str]

    @property
    def latents_per_document(self) -> float:
        """The mean number of latents per document."""
        return self.n_postings / self.n_docs

    @property
    def share_in_use(self) -> float:
        """The share of the latents that occur in at least one document."""
        return self.latents_in_use / max(self.width, 1)

    def __str__(self) -> str:
        """Returns one line per figure."""
        lines = {
            self.kind: f"{self.path} ({self.format})",
            "model": self.model,
            "fingerprint": self.fingerprint,
            "weighting": self.weighting,
            "quantisation": _quantization(self.quantization),
            **({} if self.pruning is None else {"pruned": _pruning(self.pruning)}),
            "documents": f"{self.n_docs:,}",
            "postings": f"{self.n_postings:,}, {self.latents_per_document:.1f} per document",
            "vocabulary": f"{self.width:,} latents, {self.latents_in_use:,} ({self.share_in_use:.1%}) in use",
            "on disk": f"{self.size / 1e6:,.2f} MB, {self.size / max(self.n_postings, 1):.1f} bytes per posting",
            "written by": ", ".join(f"{package} {version}" for package, version in self.versions.items()),
        }
        text = [f"{name:<13} {value}" for name, value in lines.items()]
        width = max((len(name) for name, _ in self.most_frequent), default=0)
        frequent = [f"  {name:<{width}} {df:>9,} {df / self.n_docs:>7.1%}" for name, df in self.most_frequent]
        return "\n".join([*text, "most frequent latents and their document frequencies:", *frequent])

    def to_json(self) -> str:
        """Returns the figures as a JSON object."""
        figures = {
            **asdict(self),
            "path": str(self.path),
            "latents_per_document": self.latents_per_document,
            "share_in_use": self.share_in_use,
            "most_frequent": [{"latent": name, "df": df} for name, df in self.most_frequent],
        }
        return json.dumps(figures, indent=1, ensure_ascii=False)


def inspect(path: str | os.PathLike[str], *, latents: int = 10) -> Inspection:
    """Reports what an index or a store of concept vectors contains. All of a store is read, to count its latents.

    Args:
        path: The folder.
        latents: Number of most frequent latents to report.

    Raises:
        PathNotFoundError: If there is no such folder.
        DataError: If the folder is neither an index nor a store, or was not finished.

    Examples:
        >>> inspection = inspect("my-index")
        >>> inspection.format, inspection.n_docs, inspection.width
        ('exact', 12, 2048)
    """
    folder = Path(path)
    if not folder.is_dir():
        raise PathNotFoundError(f"there is no index or store of concept vectors at {folder}")
    kind = (read_metadata(folder) or {}).get("type")
    if kind == STORE_TYPE:
        return _inspect_store(StoredVectors(folder), latents)
    if kind == ConceptIndex.ARTIFACT_TYPE:
        return _inspect_index(folder, latents)
    raise DataError(f"{folder} is neither an index nor a store of concept vectors, or it was not finished")


def _inspect_index(folder: Path, latents: int) -> Inspection:
    index = open_index(folder)
    return _inspection(folder, "index", index.metadata, index.quantization, index.statistics, index.terms, latents)


def _inspect_store(store: StoredVectors, latents: int) -> Inspection:
    statistics = LatentStatistics.empty(len(store.terms))
    for _, vectors in store.batches():
        statistics.update(vectors)
    return _inspection(store.folder, "store", store.manifest, None, statistics, store.terms, latents)


def _inspection(
    folder: Path,
    kind: str,
    metadata: dict[str, Any],
    quantization: Quantization | None,
    statistics: LatentStatistics,
    terms: Terms,
    latents: int,
) -> Inspection:
    df = statistics.df
    frequent = np.argsort(-df, kind="stable")[:latents]
    return Inspection(
        path=folder,
        kind=kind,
        format=metadata["format"],
        model=metadata["model"],
        fingerprint=metadata["fingerprint"],
        width=metadata["width"],
        weighting=metadata["weighting"],
        quantization=quantization,
        pruning=metadata.get("pruning"),
        n_docs=metadata["n_docs"],
        n_postings=metadata["n_postings"],
        size=size_on_disk(folder),
        latents_in_use=int(np.count_nonzero(df)),
        most_frequent=tuple((terms.name(latent), int(df[latent])) for latent in frequent.tolist() if df[latent]),
        versions=metadata["versions"],
    )


def _pruning(pruning: dict[str, Any]) -> str:
    settings = (pruning["documents"] or {}) | {"max_df": pruning["max_df"]}
    rules = ", ".join(f"{name} {value:g}" for name, value in settings.items() if value is not None)
    return (
        f"{rules}; removed {pruning['pruned_postings']:,} postings from documents, and {pruning['dropped_latents']:,} "
        f"frequent latents with {pruning['dropped_postings']:,} postings"
    )


def _quantization(quantization: Quantization | None) -> str:
    if quantization is None:
        return "none: weights are floats"
    clipped = "" if quantization.clip is None else f", at most {quantization.clip}"
    return f"{quantization.scale:g} levels per unit of weight{clipped}"
