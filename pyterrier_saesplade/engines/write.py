"""Writes encoded documents to an index: spools them, builds in a temporary folder, and moves it into place.

Does not import PyTerrier.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pyterrier_saesplade.engines.description import write_metadata
from pyterrier_saesplade.engines.spool import Spool
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pyterrier_saesplade.impacts import Pruning, Quantization, Terms
    from pyterrier_saesplade.protocols import IndexedModel
    from pyterrier_saesplade.vectors import ConceptVectors

INDEX_TYPE = "concept_index"

_log = logging.getLogger(__name__)


class IndexWriter(Protocol):
    """The part of an engine that is needed to write an index.

    Attributes:
        ARTIFACT_FORMAT: The name of the engine.
    """

    ARTIFACT_FORMAT: ClassVar[str]

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Returns the versions of the engine's own software."""

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Writes the engine's own data into a folder."""


def write_index(
    path: Path,
    engine: type[IndexWriter],
    model: IndexedModel,
    windows: Iterable[tuple[Sequence[str], ConceptVectors]],
    check_target: Callable[[], None],
    *,
    quantization: Quantization | None,
    pruning: Pruning | None = None,
    max_df: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Writes a complete index, or nothing if anything fails.

    Args:
        path: The folder of the new index.
        engine: The engine.
        model: The model that encoded the documents.
        windows: Batches of a few thousand documents: docnos and float concept vectors.
        check_target: Raises an error if ``path`` must not be written. It is called before any work, and again before
            the index is moved there.
        quantization: How weights are converted to integers; ``None`` keeps floats.
        pruning: Which weights of each document are kept.
        max_df: Latents in more than this share of the documents are left out.
        options: Further arguments of ``engine.write``.

    Raises:
        DataError: If there are no documents, all of them are empty, or a docno occurs twice.
    """
    with replacing(path, check_target) as folder:
        folder.mkdir()
        postings = folder.with_name(f"{folder.name}.spool.parquet")
        with Spool(postings, len(model.terms), quantization, pruning) as spool:
            for docnos, vectors in windows:
                spool.append(docnos, vectors)
        if not spool.statistics.n_docs:
            raise DataError("there are no documents to index: the iterator was empty (was it used before?)")
        if max_df is not None:
            spool.drop_frequent(max_df)
        pruned = spool.pruning
        if pruned is not None:
            _log.info(
                "removed %(pruned_postings)d postings from documents, and %(dropped_latents)d frequent latents with "
                "%(dropped_postings)d postings",
                pruned,
            )
        if not spool.n_postings:
            raise DataError("every document is empty: check text_field, or prune less")
        engine.write(folder, spool, model.terms, **options or {})
        write_metadata(
            folder,
            INDEX_TYPE,
            engine.ARTIFACT_FORMAT,
            model,
            spool.statistics,
            spool.n_postings,
            quantization,
            pruned,
            engine.versions(),
        )


def counted(
    windows: Iterable[tuple[list[str], ConceptVectors]], bar: Any
) -> Iterator[tuple[list[str], ConceptVectors]]:
    """Yields the batches, and advances a progress bar by their number of documents.

    Examples:
        >>> bar = pt.tqdm(disable=True)
        >>> [docnos for docnos, vectors in counted(store.batches(), bar)][0][:2]
        ['d1', 'd2']
    """
    for docnos, vectors in windows:
        yield docnos, vectors
        bar.update(len(docnos))
