"""CIFF, the Common Index File Format (https://github.com/osirrc/ciff): an inverted index in one protobuf file.

Terrier, Lucene, PISA, BMP, JASS and others read it. The file consists of a ``Header``, a ``PostingsList`` per term and
a ``DocRecord`` per document. Each message is preceded by its length::

    Header        version = 1  num_postings_lists = 2  num_docs = 3  total_postings_lists = 4  total_docs = 5
                  total_terms_in_collection = 6  average_doclength = 7 (double)  description = 8
    PostingsList  term = 1  df = 2  cf = 3  postings = 4 (repeated)
    Posting       docid = 1 (minus the docid of the previous posting)  tf = 2
    DocRecord     docid = 1  collection_docid = 2  doclength = 3

The messages are encoded here, because generated code would tie the package to a version of protobuf and is slower than
numpy. The postings of a list are read and written as arrays of varints, including tags.
"""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.impacts import LatentStatistics, Terms
from pyterrier_saesplade.store import WINDOW_DOCUMENTS
from pyterrier_saesplade.vectors import ConceptVectors, Postings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pyterrier_saesplade.formats.source import Source

_T = TypeVar("_T")

_VARINT, _DOUBLE, _BYTES = 0, 1, 2
#: The tags (field number and type) of the postings in a PostingsList, and of the fields of a Posting.
_POSTING, _DOCID, _TF = 4 << 3 | _BYTES, 1 << 3, 2 << 3
#: Number of postings that are encoded together, and number of bytes that are decoded together.
_CHUNK, _CHUNK_BYTES = 1 << 16, 1 << 20


def write_ciff(source: Source, path: Path) -> None:
    """Writes a CIFF file, with the terms in byte order and the documents in the order of the store.

    Memory: a batch of documents, a posting list, and 16 bytes per latent. Postings are sorted on disk, in a temporary
    folder next to the file, with 8 bytes per posting.

    Args:
        source: The quantised vectors.
        path: The file to write.

    Raises:
        SettingError: If the vectors are floats.
        DataError: If all documents are empty.
    """
    if source.quantization is None:
        raise SettingError("CIFF stores integers: pass a Quantization")
    statistics = LatentStatistics.empty(len(source.terms))
    for _, vectors in source.batches():
        statistics.update(vectors)
    written = np.flatnonzero(statistics.df).tolist()
    if not written:
        raise DataError("every document is empty: there is no posting list to write")
    with TemporaryDirectory(dir=path.parent) as name, (Path(name) / "records").open("w+b") as records:
        documents = _Documents(source, records)
        postings = Postings.write(Path(name), documents.vectors(), statistics.df)
        header = (
            _varint_field(1, 1)
            + _varint_field(2, len(written))
            + _varint_field(3, statistics.n_docs)
            + _varint_field(4, len(written))
            + _varint_field(5, statistics.n_docs)
            + _varint_field(6, documents.length)
            + _varint(7 << 3 | _DOUBLE)
            + struct.pack("<d", documents.length / statistics.n_docs)
            + _bytes_field(8, _description(source).encode())
        )
        names = {latent: source.terms.name(latent).encode() for latent in written}
        with path.open("wb") as file:
            _write_message(file, header)
            for latent in sorted(written, key=names.__getitem__):
                span = slice(postings.starts[latent], postings.starts[latent + 1])
                _write_message(file, _encode_list(names[latent], postings.documents[span], postings.weights[span]))
            records.seek(0)
            shutil.copyfileobj(records, file)


def read_terms(path: Path) -> list[str]:
    """Returns the terms of a CIFF file, in the order of the file.

    Raises:
        DataError: If the file is not a CIFF file, or is damaged.

    Examples:
        >>> terms = read_terms(export("my-vectors", "ciff", "concepts.ciff"))
        >>> terms == sorted(terms)
        True
    """
    with path.open("rb") as file:
        return [postings.term for postings in _CiffFile(path, file).lists()]


def read_batches(path: Path, terms: Terms, scratch: Path) -> Iterator[tuple[list[str], ConceptVectors]]:
    """Yields the documents of a CIFF file in batches of a few thousand, with integer weights.

    Memory: a batch of documents, a posting list, and 16 bytes per document. Postings are sorted on disk.

    Args:
        path: The file.
        terms: The names of the latents.
        scratch: An empty folder to sort in.

    Raises:
        DataError: If the file is not a CIFF file or is damaged, or one of its terms is not the name of a latent.
    """
    with path.open("rb") as file:
        ciff = _CiffFile(path, file)
        latents = []
        lengths = np.zeros(ciff.n_docs, np.int64)
        for postings in ciff.lists():
            latent = terms.latent(postings.term)
            if latent is None:
                raise DataError(f"{path}: the term {postings.term!r} is not in the model's vocabulary")
            latents.append(latent)
            lengths[postings.documents] += 1
        if len(set(latents)) < len(latents):
            raise DataError(f"{path}: a term has several posting lists")
        # The inverse of writing: each posting list is a vector over documents, and is inverted to lists per document.
        of_documents = Postings.write(scratch, (postings.as_vector() for postings in ciff.lists()), lengths)
        for start in range(0, ciff.n_docs, WINDOW_DOCUMENTS):
            stop = min(start + WINDOW_DOCUMENTS, ciff.n_docs)
            docnos = [ciff.docno(document) for document in range(start, stop)]
            yield docnos, _batch(of_documents, np.array(latents, np.int32), start, stop)


class _Documents:
    """Passes documents on to the posting lists, and writes their records to a file.

    Attributes:
        length: The sum of the impacts of the documents so far.
    """

    def __init__(self, source: Source, records: IO[bytes]) -> None:
        self._source = source
        self._records = records
        self.length = 0

    def vectors(self) -> Iterator[ConceptVectors]:
        number = 0
        for docnos, vectors in self._source.batches():
            sums = np.concatenate(([0], np.cumsum(vectors.weights, dtype=np.int64)))[vectors.indptr]
            self.length += int(sums[-1])
            for docno, length in zip(docnos, np.diff(sums).tolist(), strict=True):
                record = _varint_field(1, number) + _bytes_field(2, docno.encode()) + _varint_field(3, length)
                _write_message(self._records, record)
                number += 1
            yield vectors


class _List(NamedTuple):
    term: str
    documents: NDArray[np.int32]
    weights: NDArray[np.int32]

    def as_vector(self) -> ConceptVectors:
        return ConceptVectors(np.array([0, len(self.documents)]), self.documents, self.weights)


class _CiffFile:
    """An open CIFF file whose header has been read."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._size = path.stat().st_size
        header = self._next(_fields)
        if header.get(1) != 1:
            raise DataError(f"{path} is not a CIFF file of version 1")
        self._n_lists = header.get(2, 0)
        self.n_docs = header.get(3, 0)
        self._start = file.tell()

    def lists(self) -> Iterator[_List]:
        """Yields all posting lists. The records of the documents follow them in the file."""
        self._file.seek(self._start)
        for _ in range(self._n_lists):
            yield self._next(lambda message: _decode_list(message, self.n_docs))

    def docno(self, number: int) -> str:
        """Returns the docno of the next document, which must have this number."""

        def decode(message: bytes) -> str:
            fields = _fields(message)
            if fields.get(1, 0) != number:
                raise DataError(f"found the record of document {fields.get(1, 0)} instead of document {number}")
            return str(fields.get(2, b""), "utf-8")

        return self._next(decode)

    def _next(self, decode: Callable[[bytes], _T]) -> _T:
        """Reads and decodes a message."""
        start = self._file.tell()
        try:
            head = self._file.read(10)
            size, length = _read_varint(head, 0)
            if start + length + size > self._size:
                raise DataError("the file ends too early")
            self._file.seek(start + length)
            return decode(self._file.read(size))
        except (IndexError, ValueError) as error:
            message = f"{self._path} is not a CIFF file, or is damaged: at byte {start}, {error}"
            raise DataError(message) from error


def _description(source: Source) -> str:
    from pyterrier_saesplade import __version__

    assert source.quantization is not None
    return (
        f"{source.store}, fingerprint {source.store.fingerprint}; impacts are round({source.quantization.scale:g} * "
        f"weight); written by pyterrier_saesplade {__version__}"
    )


def _encode_list(term: bytes, documents: NDArray[np.int32], weights: NDArray[np.int32]) -> bytes:
    gaps = np.diff(documents, prepend=0)
    chunks = (slice(start, start + _CHUNK) for start in range(0, len(gaps), _CHUNK))
    return b"".join(
        [
            _bytes_field(1, term),
            _varint_field(2, len(documents)),
            _varint_field(3, int(weights.sum(dtype=np.int64))),
            *(_encode_postings(gaps[chunk], weights[chunk]) for chunk in chunks),
        ]
    )


def _encode_postings(gaps: NDArray[np.int32], weights: NDArray[np.int32]) -> bytes:
    docids, docid_sizes = _varints(gaps)
    tfs, tf_sizes = _varints(weights)
    # One row per posting: tag, length, tag, docid (up to 5 bytes), tag, tf (up to 5 bytes).
    rows = np.empty((len(gaps), 14), np.uint8)
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 8] = _POSTING, 2 + docid_sizes + tf_sizes, _DOCID, _TF
    rows[:, 3:8], rows[:, 9:] = docids, tfs
    used = np.ones(rows.shape, bool)
    used[:, 3:8], used[:, 9:] = (np.arange(5) < sizes[:, None] for sizes in (docid_sizes, tf_sizes))
    return rows[used].tobytes()


def _varints(values: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Encodes non-negative integers: ``[n, 5]`` bytes, and the number of bytes used in each row."""
    groups = values[:, None].astype(np.int64) >> np.arange(0, 35, 7)
    sizes = np.maximum((groups > 0).sum(axis=1), 1).astype(np.uint8)
    continued = np.arange(1, 6) < sizes[:, None]
    return (groups & 0x7F | continued << 7).astype(np.uint8), sizes


def _decode_list(message: bytes, n_docs: int) -> _List:
    term, at = "", 0
    while at < len(message) and message[at] != _POSTING:
        tag, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if tag == 1 << 3 | _BYTES:
            term = message[at : at + value].decode()
            at += value
    postings = _decode_postings(message[at:])
    documents, weights = np.cumsum(postings[:, 0]), postings[:, 1]
    ascending = (postings[1:, 0] > 0).all() and (postings[:, 0] >= 0).all()
    if not ascending or documents[-1:].sum() >= n_docs or not ((weights > 0) & (weights < 1 << 31)).all():
        raise DataError(f"the posting list of {term!r} has invalid numbers")
    return _List(term, documents.astype(np.int32), weights.astype(np.int32))


def _decode_postings(message: bytes) -> NDArray[np.int64]:
    """Returns the docid gaps and tfs of a posting list, ``[n, 2]``."""
    if message[2:3] == bytes([_TF]):  # a docid of 0 may be omitted, and only the first docid can be 0
        message = message[:2] + bytes([_DOCID, 0]) + message[2:]
    stream = np.frombuffer(message, np.uint8)
    chunks = [np.empty((0, 2), np.int64)]
    while len(stream):
        ends = np.flatnonzero(stream[:_CHUNK_BYTES] < 0x80) + 1
        ends = ends[: len(ends) // 6 * 6]
        fields = _decode_varints(stream, ends).reshape(-1, 6)
        if not len(fields) or (fields[:, [0, 2, 4]] != (_POSTING, _DOCID, _TF)).any():
            raise DataError("the postings do not have the fields of CIFF")
        chunks.append(fields[:, [3, 5]])
        stream = stream[ends[-1] :]
    return np.concatenate(chunks)


def _decode_varints(stream: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.concatenate(([0], ends))[: len(ends)]
    values = np.zeros(len(ends), np.int64)
    for group in range(int((ends - starts).max(initial=0))):
        longer = starts + group < ends
        values[longer] |= (stream[starts[longer] + group] & 0x7F).astype(np.int64) << 7 * group
    return values


def _batch(of_documents: Postings, latents: NDArray[np.int32], start: int, stop: int) -> ConceptVectors:
    """Returns the vectors of a range of documents, with the latents in ascending order."""
    indptr = of_documents.starts[start : stop + 1]
    span = slice(indptr[0], indptr[-1])
    found = latents[of_documents.documents[span]]
    vectors = ConceptVectors(indptr - indptr[0], found, of_documents.weights[span])
    order = np.lexsort((found, vectors.rows))
    return replace(vectors, latents=found[order], weights=vectors.weights[order])


def _fields(message: bytes) -> dict[int, Any]:
    """Returns the integers and byte strings of a message by field number. Those that are 0 or empty may be missing."""
    fields: dict[int, Any] = {}
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        if tag & 7 == _DOUBLE:
            at += 8
            continue
        value, at = _read_varint(message, at)
        fields[tag >> 3] = value
        if tag & 7 == _BYTES:
            fields[tag >> 3] = message[at : at + value]
            at += value
    return fields


def _write_message(file: IO[bytes], message: bytes) -> None:
    file.write(_varint(len(message)) + message)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Returns the integer at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
