"""Writes concept vectors to a Lucene impact index. Does not import PyTerrier."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pyterrier_saesplade.engines.description import write_docnos
from pyterrier_saesplade.engines.lucene.description import require_whole_terms
from pyterrier_saesplade.engines.lucene.jvm import require_anserini
from pyterrier_saesplade.engines.lucene.library import DELIMITER
from pyterrier_saesplade.engines.lucene.process import get_lucene
from pyterrier_saesplade.errors import EngineError
from pyterrier_saesplade.files import installed_versions
from pyterrier_saesplade.impacts import Quantization, Terms, to_toks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyterrier_saesplade.engines.spool import Spool


class LuceneWriter:
    """The part of the engine ``anserini`` that writes an index."""

    ARTIFACT_FORMAT: ClassVar[str] = "anserini"
    default_quantization: ClassVar[Quantization | None] = Quantization()

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Returns the version of Pyserini, which contains Anserini."""
        return installed_versions(["pyserini"])

    @classmethod
    def prepare(cls) -> None:
        """Checks that Pyserini and a Java 21 or later are installed."""
        require_anserini()

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Writes Lucene's files and the docnos in index order.

        Raises:
            DataError: If a term contains white space.
            EngineError: If Lucene did not index every document.
        """
        require_whole_terms(terms, spool.statistics)
        count = get_lucene().write(folder, _documents(spool, terms))
        if count != spool.statistics.n_docs:
            raise EngineError(f"Lucene indexed {count} of {spool.statistics.n_docs} documents")
        write_docnos(folder, spool.docnos())


def _documents(spool: Spool, terms: Terms) -> Iterator[list[tuple[str, str]]]:
    """Yields batches of docnos and terms in the format of :meth:`Lucene.write`."""
    for docnos, vectors in spool:
        texts = (
            " ".join(f"{term}{DELIMITER}{weight}" for term, weight in toks.items()) for toks in to_toks(vectors, terms)
        )
        yield list(zip(docnos, texts, strict=True))
