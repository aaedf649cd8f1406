"""CIFF: byte by byte, exported and imported, and read by other software."""

from pathlib import Path

import bmp
import numpy as np
import pytest

from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.formats import ciff, export, import_vectors
from pyterrier_saesplade.formats.source import Source
from pyterrier_saesplade.impacts import Quantization, Terms, to_toks
from pyterrier_saesplade.store import StoredVectors

from .conftest import MakeStore


def message(*parts: bytes) -> bytes:
    body = b"".join(parts)
    assert len(body) < 128
    return bytes([len(body)]) + body


HEADER = b"\x08\x01\x10\x02\x18\x03\x20\x02\x28\x03\x30\xb3\x02"
AVERAGE = b"\x39" + np.float64(307 / 3).tobytes()
POSTINGS = [
    # docid 0 and tf 5, then docid 2 (2 more) and tf 300
    message(b"\x0a\x01a", b"\x10\x02", b"\x18\xb1\x02", b"\x22\x04\x08\x00\x10\x05", b"\x22\x05\x08\x02\x10\xac\x02"),
    message(b"\x0a\x01b", b"\x10\x01", b"\x18\x02", b"\x22\x04\x08\x00\x10\x02"),
]
RECORDS = [
    message(b"\x08\x00", b"\x12\x02d0", b"\x18\x07"),
    message(b"\x08\x01", b"\x12\x02d1", b"\x18\x00"),
    message(b"\x08\x02", b"\x12\x02d2", b"\x18\xac\x02"),
]


@pytest.fixture
def written(make_store: MakeStore, tmp_path: Path) -> Path:
    """Three documents, {b: 2, a: 5}, {} and {a: 300}, as this package writes them."""
    rows = [([0, 1], [0.2, 0.5]), ([], []), ([1], [30.0])]
    return export(make_store(rows, ["d0", "d1", "d2"], Terms(2, ["b", "a"])), "ciff", tmp_path / "x.ciff")


def test_every_byte(written: Path) -> None:
    data = written.read_bytes()
    start = data.index(HEADER + AVERAGE) + len(HEADER + AVERAGE)
    assert data[start] == 8 << 3 | 2
    description, rest = data[start + 2 :].split(b"".join(POSTINGS + RECORDS))
    assert description.startswith(b"a model, fingerprint 0123456789abcdef; impacts are round(10 * weight); written by ")
    assert rest == b""


def test_fields_that_other_writers_omit(tmp_path: Path) -> None:
    """protobuf omits fields that are 0: the number of the first document and the length of an empty document."""
    path = tmp_path / "other.ciff"
    lists = [part.replace(b"\x04\x08\x00\x10", b"\x02\x10") for part in POSTINGS]
    lists = [bytes([len(part) - 1]) + part[1:] for part in lists]
    records = [message(b"\x12\x02d0", b"\x18\x07"), message(b"\x08\x01", b"\x12\x02d1"), RECORDS[2]]
    path.write_bytes(b"".join([message(HEADER, AVERAGE), *lists, *records]))
    store = import_vectors(path, "ciff", tmp_path / "store")
    assert list(store.get_corpus_iter()) == [
        {"docno": "d0", "toks": {"a": 5.0, "b": 2.0}},
        {"docno": "d1", "toks": {}},
        {"docno": "d2", "toks": {"a": 300.0}},
    ]
    assert store.terms.pieces == ["a", "b"]
    assert (str(store), store.weighting) == ("other.ciff", "none")


@pytest.mark.parametrize("scale", [10, 1000])
def test_exported_vectors_are_imported_unchanged(
    scale: float, random_store: StoredVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The integers come back, as weights or (without the model) as they are, also in small chunks."""
    monkeypatch.setattr(ciff, "WINDOW_DOCUMENTS", 7)
    monkeypatch.setattr(ciff, "_CHUNK", 5)
    monkeypatch.setattr(ciff, "_CHUNK_BYTES", 50)
    quantization = Quantization(scale)
    path = export(random_store, "ciff", tmp_path / "x.ciff", quantization=quantization)
    again = import_vectors(path, "ciff", tmp_path / "again", model=random_store, scale=scale)
    expected = [quantization.quantize(vectors) for _, vectors in random_store.batches()]
    found = [quantization.quantize(vectors) for _, vectors in again.batches()]
    for array in ("latents", "weights"):
        ours, theirs = (np.concatenate([getattr(part, array) for part in parts]) for parts in (expected, found))
        np.testing.assert_array_equal(ours, theirs)
    assert [row["docno"] for row in again.get_corpus_iter()] == [f"doc{i}" for i in range(300)]
    assert (again.fingerprint, again.weighting, len(again.terms)) == (random_store.fingerprint, "idf", 50)
    unknown = import_vectors(path, "ciff", tmp_path / "unknown")
    integers = [toks for vectors in expected for toks in to_toks(vectors, random_store.terms)]
    assert [row["toks"] for row in unknown.get_corpus_iter()] == integers
    assert unknown.terms.pieces == sorted(f"c{latent}" for latent in range(50))


def test_bmp_reads_it(random_store: StoredVectors, tmp_path: Path) -> None:
    """Its results are those of an index of the vectors themselves."""
    quantization = Quantization(5)
    path = export(random_store, "ciff", tmp_path / "x.ciff", quantization=quantization)
    bmp.ciff2bmp(ciff_file=str(path), output=str(tmp_path / "ciff.bmp"), bsize=8, compress_range=False)
    indexer = bmp.Indexer(str(tmp_path / "own.bmp"), bsize=8, compress_range=False)
    for docnos, vectors in Source(random_store, quantization).batches():
        for docno, toks in zip(docnos, to_toks(vectors, random_store.terms), strict=True):
            indexer.add_document(docno, toks)
    indexer.finish()
    found, expected = (bmp.Searcher(str(tmp_path / f"{name}.bmp")) for name in ("ciff", "own"))
    for start in range(0, 45, 5):
        query = {f"c{latent}": 1.0 + latent % 3 for latent in range(start, start + 5)}
        docnos, scores = found.search(query, k=20, alpha=1.0, beta=1.0)
        own_docnos, own_scores = expected.search(query, k=20, alpha=1.0, beta=1.0)
        assert len(docnos) == 20
        assert scores == own_scores
        assert set(docnos[:10]) == set(own_docnos[:10]) or scores[9] == scores[10]


def test_a_damaged_file(written: Path, tmp_path: Path) -> None:
    """Wherever the file is cut or changed, the error names the file and the position."""
    data = written.read_bytes()
    damaged = tmp_path / "damaged.ciff"
    for length in range(len(data)):
        damaged.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"damaged\.ciff.*\bbyte \d"):
            import_vectors(damaged, "ciff", tmp_path / "store")
    changes = [
        # document 0 twice; document 3, which does not exist; a term frequency of 0; fields in another order
        (b"\x22\x05\x08\x02\x10\xac\x02", b"\x22\x05\x08\x00\x10\xac\x02", r"damaged\.ciff.*\bbyte 133\b.*'a'"),
        (b"\x22\x05\x08\x02\x10\xac\x02", b"\x22\x05\x08\x03\x10\xac\x02", r"damaged\.ciff.*\bbyte 133\b.*'a'"),
        (b"\x22\x04\x08\x00\x10\x02", b"\x22\x04\x08\x00\x10\x00", r"damaged\.ciff.*\bbyte 155\b.*'b'"),
        (b"\x22\x04\x08\x00\x10\x02", b"\x22\x04\x10\x02\x08\x00", r"damaged\.ciff.*\bbyte 155\b"),
        (b"\x08\x01\x12\x02d1", b"\x08\x02\x12\x02d1", r"damaged\.ciff.*\bbyte 178\b.*\b2\b.*\b1\b"),
        (b"\x0a\x01b", b"\x0a\x01a", r"damaged\.ciff.*\bterm\b"),
        (b"\x12\x02d1", b"\x12\x02d0", "'d0'"),
        (b"\x08\x01\x10\x02\x18\x03", b"\x08\x02\x10\x02\x18\x03", r"damaged\.ciff.*\bversion 1\b"),
    ]
    for old, new, fact in changes:
        assert data.count(old) == 1
        damaged.write_bytes(data.replace(old, new))
        with pytest.raises(DataError, match=fact):
            import_vectors(damaged, "ciff", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_vectors_that_ciff_cannot_hold(
    written: Path, store: StoredVectors, make_store: MakeStore, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=r"CIFF .*Quantization"):
        ciff.write_ciff(Source(store, None), tmp_path / "y.ciff")
    with pytest.raises(DataError, match="empty"):
        export(make_store([([0], [0.01])], ["d"], Terms(1)), "ciff", tmp_path / "y.ciff")
    with pytest.raises(DataError, match=f"{written}.*'a'"):
        import_vectors(written, "ciff", tmp_path / "y", model=store)
