"""A collection's postings on disk, between the model and an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from pyterrier_saesplade.encoding.arrow import from_arrow, to_arrow, vector_schema
from pyterrier_saesplade.encoding.vectors import ConceptVectors
from pyterrier_saesplade.impacts import LatentStatistics, Quantization
from pyterrier_saesplade.store.documents import DistinctDocnos


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
        self._docnos = DistinctDocnos()
        weights = pa.float32() if quantization is None else pa.int32()
        self._writer = pq.ParquetWriter(path, vector_schema(["docno"], weights))
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
        self._writer.write_batch(to_arrow([docnos], vectors, self._writer.schema))
        self.statistics.update(vectors)
        self.n_postings += len(vectors.latents)
        self.docno_length = max(self.docno_length, *map(java_length, docnos))

    def __iter__(self) -> Iterator[tuple[list[str], ConceptVectors]]:
        """Reads the windows back, in order."""
        with pq.ParquetFile(self._path) as file:
            for group in range(file.num_row_groups):
                window = file.read_row_group(group)
                yield window.column("docno").to_pylist(), from_arrow(window)


def java_length(text: str) -> int:
    """Returns the length of a text as Java counts it, in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2
