"""Terrier: concept vectors in a pre-tokenised inverted index, searched with the plain ``Tf`` model."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyterrier as pt

from pyterrier_saesplade.engines.frames import Hits, search_toks, toks_documents
from pyterrier_saesplade.engines.index import ConceptIndex
from pyterrier_saesplade.errors import DataError, EngineError
from pyterrier_saesplade.impacts import Quantization, Terms, to_toks

if TYPE_CHECKING:
    from pathlib import Path

    from pyterrier_saesplade.engines.spool import Spool
    from pyterrier_saesplade.vectors import ConceptVectors

_SUBFOLDER = "terrier"

#: Maximum length of a term in bytes. Terrier's lexicon cannot look up a longer term, nor any term that is sorted after
#: it, although its counts are right.
_LONGEST_TERM = 60

#: A term that is in no vocabulary, because word pieces contain no spaces.
_NORMALIZER = "power of two"


class TerrierConceptIndex(ConceptIndex):
    """A plain Terrier impact index in the subfolder ``terrier``, next to the description of the model.

    The Terrier index is usable without this package: ``pt.terrier.TerrierIndex(path / "terrier").tf()`` takes
    ``query_toks``.

    Examples:
        >>> index = model.indexer("concepts.index").index(documents)
        >>> pipeline = model.query_encoder() >> index.terrier.tf()
        >>> pipeline.search("young cat").columns.tolist()
        ['qid', 'query', 'query_toks', 'docid', 'docno', 'rank', 'score']
    """

    ARTIFACT_FORMAT: ClassVar[str] = "terrier"
    default_quantization: ClassVar[Quantization | None] = Quantization()

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Returns the version of Terrier, which does not follow from that of PyTerrier."""
        return {"terrier": str(pt.terrier.J.Version.VERSION)}

    @classmethod
    def prepare(cls) -> None:
        """Starts Java unless it is running, so that a missing Java is reported before documents are encoded."""
        if not pt.java.started():
            pt.java.init()

    @classmethod
    def write(cls, folder: Path, spool: Spool, terms: Terms) -> None:
        """Indexes in one thread, so that documents keep their order.

        Raises:
            EngineError: If Terrier did not index everything. It reports errors of its reader only in its log.
            DataError: If a document contains a term of more than 60 bytes.
        """
        _check_lengths(spool, terms)
        terrier = folder / _SUBFOLDER
        # Terrier reserves three bytes per character in every document, so the length is that of the longest docno.
        indexer = pt.terrier.TerrierIndex(terrier).toks_indexer(meta={"docno": spool.docno_length})
        indexer.index(toks_documents(spool, terms))
        indexed = _counts(terrier)
        expected = (spool.statistics.n_docs, spool.n_postings)
        if indexed != expected:
            raise EngineError(
                f"Terrier indexed {indexed} instead of {expected} (documents, postings): see its log above"
            )

    @cached_property
    def terrier(self) -> pt.terrier.TerrierIndex:
        """The plain ``pt.terrier.TerrierIndex``."""
        return pt.terrier.TerrierIndex(self._folder / _SUBFOLDER)

    def search(self, queries: ConceptVectors, num_results: int) -> list[Hits]:
        """Searches with Terrier; see :meth:`ConceptIndex.search`."""
        # Terrier divides the weights of a query by the largest one. A term that is in no document makes the largest one
        # a power of two. The division is then exact, equal scores stay equal, and multiplying by the power of two gives
        # the integers.
        toks = to_toks(queries, self.terms)
        largest = [_power_of_two(max(weights.values(), default=1)) for weights in toks]
        for weights, most in zip(toks, largest, strict=True):
            if weights:
                weights[_NORMALIZER] = most
        hits = search_toks(self.terrier.tf(num_results=num_results), toks)
        return [Hits(found.docnos, found.scores * most) for found, most in zip(hits, largest, strict=True)]


def _power_of_two(weight: float) -> int:
    return 1 << (int(weight) - 1).bit_length()


def _check_lengths(spool: Spool, terms: Terms) -> None:
    if terms.pieces is None:
        return
    for latent in np.flatnonzero(spool.statistics.df).tolist():
        name = terms.name(latent)
        if _java_bytes(name) > _LONGEST_TERM:
            raise DataError(
                f"Terrier stores terms of {_LONGEST_TERM} bytes at most, and {name!r} has {_java_bytes(name)}: "
                "index with another engine, or without that term"
            )


def _java_bytes(text: str) -> int:
    """Returns the length in Java's variant of UTF-8, which uses six bytes where UTF-8 uses four."""
    return sum(6 if letter > "\uffff" else len(letter.encode()) for letter in text)


def _counts(folder: Path) -> tuple[int, int]:
    lines = (folder / "data.properties").read_text(encoding="latin-1").splitlines()
    properties = dict(line.split("=", 1) for line in lines if "=" in line)
    return int(properties["num.Documents"]), int(properties["num.Pointers"])
