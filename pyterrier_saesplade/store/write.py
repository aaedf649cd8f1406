"""Writing the files of a store."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pyterrier_saesplade.documents import DistinctDocnos
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import atomic_write, installed_versions, write_artifact_metadata
from pyterrier_saesplade.store.reader import STORE_FORMAT, STORE_TYPE
from pyterrier_saesplade.vectors import DESCRIPTION, ConceptVectors, to_arrow, vector_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pyterrier_saesplade.protocols import IndexedModel

#: The number of documents per file, which is the most that an interrupted encoding has to repeat.
PART_DOCUMENTS = 16384
#: The number of documents per row group, which are encoded at a time, and which a reader holds in memory.
WINDOW_DOCUMENTS = 4096


def write_store(model: IndexedModel, windows: Iterable[tuple[list[str], ConceptVectors]], folder: Path) -> None:
    """Writes the vectors of a corpus to a store.

    Args:
        model: The model that produced the vectors.
        windows: Docnos and float vectors, :data:`WINDOW_DOCUMENTS` documents at a time.
        folder: An empty folder.

    Raises:
        DataError: If there are no documents, or a docno is empty or occurs twice.
    """
    docnos = DistinctDocnos()
    paths: list[Path] = []
    rest = iter(windows)
    while part := list(islice(rest, PART_DOCUMENTS // WINDOW_DOCUMENTS)):
        for names, _ in part:
            docnos.add(names)
        paths.append(part_path(folder, len(paths)))
        write_part(paths[-1], model, part)
    if not paths:
        raise DataError("there are no documents")
    write_manifest(folder, model, paths)


def part_path(folder: Path, number: int) -> Path:
    """Returns the path of a part, numbered from 0."""
    return folder / f"part-{number:05d}.parquet"


def write_part(
    path: Path, model: IndexedModel, windows: Sequence[tuple[Sequence[str], ConceptVectors]], *, half: bool = False
) -> None:
    """Writes a Parquet file with one row group per window and a description of the model."""
    postings = sum(len(vectors.latents) for _, vectors in windows)
    description = {**describe(model), "n_postings": postings}
    schema = vector_schema(["docno"], pa.float16() if half else pa.float32(), description)
    with atomic_write(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for docnos, vectors in windows:
            writer.write_batch(to_arrow([docnos], vectors, schema))


def write_manifest(folder: Path, model: IndexedModel, paths: Sequence[Path]) -> None:
    """Writes the manifest of the complete parts, which makes the folder a store."""
    counts = [_counts(path) for path in paths]
    write_artifact_metadata(
        folder,
        STORE_TYPE,
        STORE_FORMAT,
        installed_versions(("pyterrier_saesplade", "pyarrow", "torch", "transformers")),
        **describe(model),
        n_docs=sum(n_docs for n_docs, _ in counts),
        n_postings=sum(n_postings for _, n_postings in counts),
        parts=[
            {"file": path.name, "n_docs": n_docs, "n_postings": n_postings}
            for path, (n_docs, n_postings) in zip(paths, counts, strict=True)
        ],
    )


def describe(model: IndexedModel) -> dict[str, Any]:
    """Returns the description of a model that a store and each of its files record."""
    return {
        "model": str(model),
        "fingerprint": model.fingerprint,
        "width": len(model.terms),
        "weighting": model.weighting,
        "pieces": model.terms.pieces,
    }


def _counts(path: Path) -> tuple[int, int]:
    metadata = pq.read_metadata(path)
    return metadata.num_rows, json.loads(metadata.metadata[DESCRIPTION])["n_postings"]
