"""PyTerrier's documents, some at a time, and what must hold of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.impacts import as_texts
from pyterrier_saesplade.protocols import ConceptModel
from pyterrier_saesplade.vectors import ConceptVectors


def field(document: Mapping[str, Any], name: str) -> Any:
    """Returns a field of a document.

    Raises:
        ValueError: If the document has no such field, or is no dictionary.
    """
    if not isinstance(document, Mapping):
        raise DataError(
            f"a document must be a dictionary, not a {type(document).__name__}; "
            "of a frame, give frame.to_dict('records')"
        )
    if name not in document:
        raise DataError(f"the document {document.get('docno')!r} has no {name!r}; it has: {', '.join(document)}")
    return document[name]


def encode_documents(
    model: ConceptModel, documents: Sequence[Mapping[str, Any]], text_field: str = "text"
) -> tuple[list[str], ConceptVectors]:
    """Returns the docnos and the concept vectors of documents.

    Raises:
        ValueError: If a document lacks a field, or its text is neither a string nor missing.
    """
    docnos = [field(document, "docno") for document in documents]
    texts = as_texts(field(document, text_field) for document in documents)
    return docnos, model.encode(texts, "doc", verbose=False)


class DistinctDocnos:
    """Notices a docno that comes a second time, in 8 bytes per document.

    What is kept of a docno is a 64-bit hash, salted anew in each process; two of N different docnos share one with
    probability N² / 2^65. The hashes are kept in sorted runs, of which two of about the same size are merged, so that
    there are few to search.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def add(self, docnos: Sequence[str]) -> None:
        """Takes further docnos.

        Raises:
            ValueError: If one came before, or is no text or empty.
        """
        for docno in docnos:
            if not isinstance(docno, str) or not docno or len(docno.splitlines()) > 1 or docno != docno.strip():
                raise DataError(f"a docno must be a text of one line, not empty, no blank around it, not {docno!r}")
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
            raise DataError(f"the docno {docno!r} occurs more than once: an index needs one document per docno")
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
