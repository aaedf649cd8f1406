"""The postings of a collection in a temporary file, between the model and an engine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyterrier_saesplade.documents import DistinctDocnos
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.impacts import LatentStatistics, Pruning, Quantization
from pyterrier_saesplade.vectors import ConceptVectors, from_arrow, to_arrow, vector_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType


class Spool:
    """Documents ready for indexing, appended in batches to a Parquet file and then read any number of times.

    Engines need facts about the whole collection before the first document: Terrier needs the length of the longest
    docno, the exact engine needs the document frequencies. Encoding is the expensive part, so documents are encoded
    once and stored here. Memory: 8 bytes per document and one batch.

    Args:
        path: The file to write.
        width: Number of latents, M.
        quantization: How weights are converted to integers; ``None`` keeps floats.
        pruning: Which weights of a document are kept, before quantisation; ``None`` keeps all.

    Attributes:
        statistics: Document frequencies of the postings as they are read, after pruning and quantisation.
        n_postings: Number of these postings.
        docno_length: Length of the longest docno, in UTF-16 units, as Java counts it.

    Examples:
        >>> with Spool(Path("spool.parquet"), width=4, quantization=None) as spool:
        ...     spool.append(["d1", "d2"], ConceptVectors.from_rows([([0, 3], [1.0, 0.5]), ([3], [2.0])]))
        >>> spool.n_postings, spool.statistics.df.tolist(), spool.docnos()
        (3, [1, 0, 0, 2], ['d1', 'd2'])
    """

    def __init__(
        self, path: Path, width: int, quantization: Quantization | None, pruning: Pruning | None = None
    ) -> None:
        self._path = path
        self._quantization = quantization
        self._pruning = pruning
        self._docnos = DistinctDocnos()
        weights = pa.float32() if quantization is None else pa.int32()
        self._writer = pq.ParquetWriter(path, vector_schema(["docno"], weights))
        self.statistics = LatentStatistics.empty(width)
        self.n_postings = 0
        self.docno_length = 0
        self._max_df: float | None = None
        self._pruned_postings = 0
        self._dropped_postings = 0

    def __enter__(self) -> Spool:
        """Opens the file for appending."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Completes the file. It can be read afterwards."""
        self._writer.close()

    def append(self, docnos: Sequence[str], vectors: ConceptVectors) -> None:
        """Adds a batch of documents.

        Args:
            docnos: One docno per document.
            vectors: The float concept vectors of the documents.

        Raises:
            DataError: If a docno was added before or is not a non-empty string, or if the numbers of docnos and vectors
                differ.
        """
        if len(docnos) != len(vectors):
            raise DataError(f"{len(docnos)} docnos were given for {len(vectors)} concept vectors")
        if not docnos:
            return
        self._docnos.add(docnos)
        if self._pruning is not None:
            given, vectors = vectors, self._pruning.prune(vectors)
            self._pruned_postings += len(given.latents) - len(vectors.latents)
        if self._quantization is not None:
            vectors = self._quantization.quantize(vectors)
        self._writer.write_batch(to_arrow([docnos], vectors, self._writer.schema))
        self.statistics.update(vectors)
        self.n_postings += len(vectors.latents)
        self.docno_length = max(self.docno_length, *map(java_length, docnos))

    def drop_frequent(self, max_df: float) -> None:
        """Leaves out frequent latents whenever the postings are read from now on.

        Args:
            max_df: Latents in more than this share of the documents are left out.
        """
        self.statistics.drop_frequent(max_df)
        self._max_df = max_df
        self._dropped_postings = self.n_postings - int(self.statistics.df.sum())
        self.n_postings -= self._dropped_postings

    def __iter__(self) -> Iterator[tuple[list[str], ConceptVectors]]:
        """Reads the batches back, in order."""
        dropped = self.statistics.dropped
        kept = np.ones(len(self.statistics.df), np.bool_)
        kept[dropped] = False
        with pq.ParquetFile(self._path) as file:
            for group in range(file.num_row_groups):
                batch = file.read_row_group(group)
                vectors = from_arrow(batch)
                if len(dropped):
                    vectors = vectors.where(kept[vectors.latents])
                yield batch.column("docno").to_pylist(), vectors

    def docnos(self) -> list[str]:
        """Reads all docnos back, in order."""
        docnos: list[str] = pq.read_table(self._path, columns=["docno"]).column("docno").to_pylist()
        return docnos

    @property
    def pruning(self) -> dict[str, Any] | None:
        """What was removed, and by which settings, for the description of an index; ``None`` without pruning."""
        if self._pruning is None and self._max_df is None:
            return None
        return {
            "documents": None if self._pruning is None else asdict(self._pruning),
            "pruned_postings": self._pruned_postings,
            "max_df": self._max_df,
            "dropped_latents": len(self.statistics.dropped),
            "dropped_postings": self._dropped_postings,
        }


def java_length(text: str) -> int:
    """Returns the length of a text as Java counts it, in UTF-16 units.

    Examples:
        >>> java_length("clef 𝄞")
        7
    """
    return len(text.encode("utf-16-le")) // 2
