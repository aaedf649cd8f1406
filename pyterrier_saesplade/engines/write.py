"""Encoded documents to the folder of an index: spool, build beside, move into place. Imports no PyTerrier."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pyterrier_saesplade.engines.description import write_metadata
from pyterrier_saesplade.engines.spool import Spool
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.files import replacing
from pyterrier_saesplade.impacts import Pruning, Quantization, Terms
from pyterrier_saesplade.protocols import IndexedModel
from pyterrier_saesplade.vectors import ConceptVectors

INDEX_TYPE = "concept_index"

_log = logging.getLogger(__name__)


class IndexWriter(Protocol):
    """What writing an index needs of an engine.

    Attributes:
        ARTIFACT_FORMAT: The engine's name.
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
    """Writes an index, complete or not at all.

    Args:
        path: The folder that it will be.
        engine: The engine.
        model: The model that encoded the documents.
        windows: Docnos and float concept vectors, some thousand documents at a time.
        check_target: Raises an error if ``path`` must not be written. It is called before any work, and again before
            the index is moved there.
        quantization: How weights become integers; ``None``: they stay floats.
        pruning: Which weights of each document are kept.
        max_df: Latents that more than this share of the documents have are left out.
        options: Further arguments of ``engine.write``.

    Raises:
        ValueError: If there are no documents, all are empty, or a docno occurs twice.
    """
    with replacing(path, check_target) as folder:
        folder.mkdir()
        postings = folder.with_name(f"{folder.name}.spool.parquet")
        with Spool(postings, len(model.terms), quantization, pruning) as spool:
            for docnos, vectors in windows:
                spool.append(docnos, vectors)
        if not spool.statistics.n_docs:
            raise SettingError("there are no documents to index: the iterator was empty (was it used before?)")
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
            raise SettingError("every document is empty: was another text_field meant, or less pruning?")
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
    """Yields the windows, and advances a progress bar by their documents."""
    for docnos, vectors in windows:
        yield docnos, vectors
        bar.update(len(docnos))
