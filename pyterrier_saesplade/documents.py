"""Reading PyTerrier documents: required fields, encoding in batches, and duplicate docnos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.impacts import as_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyterrier_saesplade.protocols import ConceptModel
    from pyterrier_saesplade.vectors import ConceptVectors


def field(document: Mapping[str, Any], name: str) -> Any:
    """Returns a field of a document.

    Raises:
        DataError: If the document is not a dictionary, or lacks the field.

    Examples:
        >>> field({"docno": "d1"}, "text")
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.DataError: the document 'd1' has no 'text'; it has: docno
    """
    if not isinstance(document, Mapping):
        raise DataError(
            f"a document must be a dictionary, not a {type(document).__name__}: "
            "to index a frame, pass frame.to_dict('records')"
        )
    if name not in document:
        raise DataError(f"the document {document.get('docno')!r} has no {name!r}; it has: {', '.join(document)}")
    return document[name]


def encode_documents(
    model: ConceptModel, documents: Sequence[Mapping[str, Any]], text_field: str = "text"
) -> tuple[list[str], ConceptVectors]:
    """Returns the docnos and the concept vectors of documents.

    Raises:
        DataError: If a document lacks a field, or its text is neither a string nor missing.

    Examples:
        >>> docnos, vectors = encode_documents(model, documents)
        >>> docnos[:2], len(vectors)
        (['d1', 'd2'], 12)
    """
    docnos = [field(document, "docno") for document in documents]
    texts = as_texts(field(document, text_field) for document in documents)
    return docnos, model.encode(texts, "doc", verbose=False)


class DistinctDocnos:
    """Detects duplicate docnos, using 8 bytes per document.

    Only a 64-bit hash of each docno is kept, with a salt that differs between processes. The probability that any two
    of N distinct docnos collide is N² / 2^65. The hashes are kept in sorted runs; runs of similar size are merged, so
    that only a few have to be searched.

    Examples:
        >>> docnos = DistinctDocnos()
        >>> docnos.add(["d1", "d2"])
        >>> docnos.add(["d2"])
        Traceback (most recent call last):
        ...
        pyterrier_saesplade.errors.DataError: the docno 'd2' occurs more than once: ...
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def add(self, docnos: Sequence[str]) -> None:
        """Adds docnos.

        Raises:
            DataError: If a docno was added before, or is not a non-empty string on a single line without surrounding
                whitespace.
        """
        for docno in docnos:
            if not isinstance(docno, str) or not docno or len(docno.splitlines()) > 1 or docno != docno.strip():
                raise DataError(
                    f"a docno must be a non-empty string on one line, without spaces around it, not {docno!r}"
                )
        hashes = np.array([hash(docno) for docno in docnos], np.int64)
        order = np.argsort(hashes, kind="stable")
        run = hashes[order]
        repeated = np.zeros(len(run), bool)
        repeated[1:] = run[1:] == run[:-1]
        for earlier in self._runs:
            nearest = np.minimum(np.searchsorted(earlier, run), len(earlier) - 1)
            repeated |= earlier[nearest] == run
        if repeated.any():
            docno = docnos[order[repeated].min()]
            raise DataError(f"the docno {docno!r} occurs more than once: give each document a different docno")
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
