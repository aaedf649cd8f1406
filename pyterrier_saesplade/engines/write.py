"""Encoded documents to the folder of an index: spool, build beside, move into place. Imports no PyTerrier."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.engines.description import write_metadata
from pyterrier_saesplade.engines.spool import Spool
from pyterrier_saesplade.files import beside, move_into_place
from pyterrier_saesplade.impacts import Pruning, Quantization, Terms
from pyterrier_saesplade.store.model import IndexedModel

INDEX_TYPE = "concept_index"

_log = logging.getLogger(__name__)


def write_index(
    path: Path,
    engine: str,
    write: Callable[[Path, Spool, Terms], None],
    model: IndexedModel,
    windows: Iterable[tuple[Sequence[str], ConceptVectors]],
    check_target: Callable[[], None],
    *,
    quantization: Quantization | None,
    pruning: Pruning | None = None,
    max_df: float | None = None,
    versions: Mapping[str, str] | None = None,
) -> None:
    """Writes an index, complete or not at all.

    Args:
        path: The folder that it will be.
        engine: The engine's name.
        write: Writes the engine's own data into a folder.
        model: The model that encoded the documents.
        windows: Docnos and float concept vectors, some thousand documents at a time.
        check_target: Raises an error if ``path`` may not be written; called before the index is moved there.
        quantization: How weights become integers; ``None``: they stay floats.
        pruning: Which weights of each document are kept.
        max_df: Latents that more than this share of the documents have are left out.
        versions: Of the engine's own software.

    Raises:
        ValueError: If there are no documents, all are empty, or a docno occurs twice.
    """
    with beside(path) as workplace:
        folder = workplace / "index"
        folder.mkdir(parents=True)
        with Spool(workplace / "spool.parquet", len(model.terms), quantization, pruning) as spool:
            for docnos, vectors in windows:
                spool.append(docnos, vectors)
        if not spool.statistics.n_docs:
            raise ValueError("there are no documents to index: the iterator was empty (was it used before?)")
        if max_df is not None:
            spool.drop_frequent(max_df)
        pruned = spool.pruning
        if pruned is not None:
            _log.info(
                "removed %(pruned_postings)d postings of documents, and %(dropped_latents)d frequent latents with "
                "%(dropped_postings)d postings",
                pruned,
            )
        if not spool.n_postings:
            raise ValueError("every document is empty: was another text_field meant, or less pruning?")
        write(folder, spool, model.terms)
        write_metadata(
            folder, INDEX_TYPE, engine, model, spool.statistics, spool.n_postings, quantization, pruned, versions
        )
        check_target()
        move_into_place(folder, path, workplace / "replaced")


def counted(
    windows: Iterable[tuple[list[str], ConceptVectors]], bar: Any
) -> Iterator[tuple[list[str], ConceptVectors]]:
    """Yields the windows, and advances a progress bar by their documents."""
    for docnos, vectors in windows:
        yield docnos, vectors
        bar.update(len(docnos))
