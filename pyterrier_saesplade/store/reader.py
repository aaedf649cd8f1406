"""Reading a store of concept vectors. This module imports neither PyTerrier nor torch."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import read_artifact_metadata
from pyterrier_saesplade.impacts import Terms, to_toks
from pyterrier_saesplade.vectors import ConceptVectors, from_arrow

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from pyterrier_saesplade.types import Weighting

STORE_TYPE, STORE_FORMAT = "concept_store", "parquet"


class StoredVectors:
    """The stored concept vectors of a corpus, in the order of its documents.

    A store is a folder of Parquet files (``docno``, ``latents``, ``weights``) with a manifest, written last, that lists
    the files and describes the model. An index can be built from a store without the model, because it has the same
    fingerprint, names of latents and weighting.

    Args:
        path: A folder written by :func:`~pyterrier_saesplade.store.encode_corpus`.

    Raises:
        PathNotFoundError: If there is no such folder.
        DataError: If the folder is not a finished store.

    Examples:
        >>> for docnos, vectors in StoredVectors("my-vectors").batches():
        ...     print(docnos[:3], len(vectors))
        ['d1', 'd2', 'd3'] 12
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = Path(path)
        self.manifest = read_manifest(self.folder)

    def __len__(self) -> int:
        """Returns the number of documents, including empty ones."""
        return int(self.manifest["n_docs"])

    def __str__(self) -> str:
        """Returns the name of the model."""
        return str(self.manifest["model"])

    @property
    def fingerprint(self) -> str:
        """Identifies the model that encoded the documents."""
        return str(self.manifest["fingerprint"])

    @property
    def weighting(self) -> Weighting:
        """What an index multiplies query weights by."""
        weighting: Weighting = self.manifest["weighting"]
        return weighting

    @cached_property
    def terms(self) -> Terms:
        """The names of the latents."""
        return Terms(self.manifest["width"], self.manifest["pieces"])

    def batches(self) -> Iterator[tuple[list[str], ConceptVectors]]:
        """Yields docnos and float vectors, a few thousand documents at a time.

        Raises:
            DataError: If a file is missing or damaged.
        """
        for part in self.manifest["parts"]:
            path = self.folder / part["file"]
            try:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        window = file.read_row_group(group)
                        yield window.column("docno").to_pylist(), from_arrow(window)
            except (pa.ArrowException, FileNotFoundError) as error:
                raise DataError(f"{path} is missing or damaged: encode the corpus again ({error})") from error

    def get_corpus_iter(self) -> Iterator[dict[str, Any]]:
        """Yields one dictionary per document, with its ``docno`` and ``toks`` (pseudo-terms with float weights).

        Indexers from other packages truncate floats: put a :class:`~pyterrier_saesplade.Quantizer` before them.
        """
        for docnos, vectors in self.batches():
            for docno, toks in zip(docnos, to_toks(vectors, self.terms), strict=True):
                yield {"docno": docno, "toks": toks}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a store.

    Raises:
        PathNotFoundError: If there is no such folder.
        DataError: If the folder is not a finished store.
    """
    remedy = (
        "make one with saesplade encode; the same command resumes an interrupted encoding (if it is sharded, the "
        "command of each shard)"
    )
    manifest = read_artifact_metadata(folder, STORE_TYPE, "store of concept vectors", remedy)
    if manifest.get("format") != STORE_FORMAT:
        raise DataError(f"{folder} has the format {manifest.get('format')!r} instead of {STORE_FORMAT!r}: {remedy}")
    return manifest
