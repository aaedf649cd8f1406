"""A collection's postings on disk, between the model and an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.impacts import LatentStatistics, Quantization


class Spool:
    """Documents as they will be indexed, appended window by window to a Parquet file, then read any number of times.

    An engine has to know things of the whole collection before it sees the first document: Terrier the length of the
    longest docno, the exact engine the document frequencies. Encoding is the dear part, so it happens once, here.
    Memory: 8 bytes per document and one window.

    Args:
        path: The file to write.
        width: The number of latents, M.
        quantization: How weights become integers; ``None`` keeps floats.

    Attributes:
        statistics: Document frequencies of the postings as stored, after quantisation.
        n_postings: Their number.
        docno_length: Of the longest docno, in UTF-16 units, which is how Java counts.
    """

    def __init__(self, path: Path, width: int, quantization: Quantization | None) -> None:
        self._path = path
        self._quantization = quantization
        self._docnos = _DistinctDocnos()
        weight = pa.float32() if quantization is None else pa.int32()
        schema = pa.schema([("docno", pa.string()), ("latents", pa.list_(pa.int32())), ("weights", pa.list_(weight))])
        self._writer = pq.ParquetWriter(path, schema)
        self.statistics = LatentStatistics.empty(width)
        self.n_postings = 0
        self.docno_length = 0

    def __enter__(self) -> Spool:
        """Opens the file for appending."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Completes the file, which can be read from then on."""
        self._writer.close()

    def append(self, docnos: Sequence[str], vectors: ConceptVectors) -> None:
        """Adds a window of documents.

        Args:
            docnos: One per document.
            vectors: Their concept vectors, floats.

        Raises:
            ValueError: If a docno came before, or is no text or empty, or there are not as many as vectors.
        """
        if len(docnos) != len(vectors):
            raise ValueError(f"{len(docnos)} docnos were given for {len(vectors)} concept vectors")
        if not docnos:
            return
        self._docnos.add(docnos)
        if self._quantization is not None:
            vectors = self._quantization.vectors(vectors)
        bounds = vectors.indptr.astype(np.int32)
        columns = [
            pa.array(docnos, pa.string()),
            pa.ListArray.from_arrays(bounds, vectors.latents),
            pa.ListArray.from_arrays(bounds, vectors.weights),
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._writer.schema))
        self.statistics.update(vectors)
        self.n_postings += len(vectors.latents)
        self.docno_length = max(self.docno_length, *map(java_length, docnos))

    def __iter__(self) -> Iterator[tuple[list[str], ConceptVectors]]:
        """Reads the windows back, in order."""
        with pq.ParquetFile(self._path) as file:
            for group in range(file.num_row_groups):
                window = file.read_row_group(group)
                latents, weights = (window.column(name).combine_chunks() for name in ("latents", "weights"))
                indptr = latents.offsets.to_numpy().astype(np.int64)
                vectors = ConceptVectors(indptr, latents.values.to_numpy(), weights.values.to_numpy())
                yield window.column("docno").to_pylist(), vectors


def java_length(text: str) -> int:
    """Returns the length of a text as Java counts it, in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


class _DistinctDocnos:
    """Notices a docno that comes a second time, in 8 bytes per document.

    What is kept of a docno is a 64-bit hash, salted anew in each process; two of N different docnos share one with
    probability N² / 2^65. The hashes are kept in sorted runs, of which two of about the same size are merged, so that
    there are few to search.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def add(self, docnos: Sequence[str]) -> None:
        for docno in docnos:
            if not isinstance(docno, str) or not docno:
                raise ValueError(f"a docno must be a text that is not empty, not {docno!r}")
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
            raise ValueError(f"the docno {docno!r} occurs more than once: an index needs one document per docno")
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
