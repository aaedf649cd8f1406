"""JSON lines: short floats, exported and imported exactly, and every invalid line named."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pyterrier_saesplade.errors import DataError, PathNotFoundError
from pyterrier_saesplade.formats import export, import_vectors, read_queries
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.store import StoredVectors

Content = Callable[[StoredVectors], list[tuple[str, dict[str, float]]]]


def test_the_lines_of_a_file(store: StoredVectors, tmp_path: Path) -> None:
    """Floats are as short as possible, empty documents stay, and equal vectors make equal files."""
    lines = export(store, "jsonl", tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[0] == '{"docno": "d0", "vector": {"cat": 1.26, ".": 0.3, "never.": 7.0}}'
    assert lines[1] == '{"docno": "empty", "vector": {}}'
    assert lines[4] == '{"docno": "🙂", "vector": {".": 25.6, "東京": 7000.0}}'
    assert json.loads(lines[5])["vector"]["cat"] == 0.33333334
    integers = [export(store, "jsonl", tmp_path / name / "x.jsonl.gz", quantization=Quantization()) for name in "ab"]
    assert integers[0].read_bytes() == integers[1].read_bytes()
    lines = gzip.decompress(integers[0].read_bytes()).decode().splitlines()
    assert lines[0] == '{"docno": "d0", "vector": {"cat": 13, ".": 3, "never.": 70}}'
    assert lines[3] == '{"docno": "small", "vector": {}}'


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_exported_vectors_are_imported_unchanged(
    name: str, store: StoredVectors, content: Content, tmp_path: Path
) -> None:
    """To the last bit. With the model the latents are the same, without it their names are."""
    path = export(store, "jsonl", tmp_path / name)
    again = import_vectors(path, "jsonl", tmp_path / "again", model=store)
    assert list(again.get_corpus_iter()) == list(store.get_corpus_iter())
    assert (str(again), again.fingerprint, again.weighting) == ("a model", store.fingerprint, "idf")
    assert again.terms.pieces == store.terms.pieces
    unknown = import_vectors(path, "jsonl", tmp_path / "unknown")
    assert content(unknown) == content(store)
    assert (str(unknown), unknown.weighting, len(unknown.fingerprint)) == (name, "none", 64)
    assert unknown.terms.pieces == ["##ing", ".", "c12", "cat", "never.", "東京"]


def test_integers_become_weights(tmp_path: Path) -> None:
    """Entries of 0 are dropped. Quantising with the same scale gives the same integers."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"docno": "d", "vector": {"a": 0, "b": 153, "c": 255, "d": 256, "e": 70000}}\n', encoding="utf-8")
    store = import_vectors(path, "jsonl", tmp_path / "store", scale=100)
    (document,) = store.get_corpus_iter()
    assert document["toks"] == pytest.approx({"b": 1.53, "c": 2.55, "d": 2.56, "e": 700})
    assert Quantization(100).quantize_toks(document["toks"]) == {"b": 153, "c": 255, "d": 256, "e": 70000}


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("{", r"x\.jsonl:2\b.*Expecting property name"),  # the message of Python's json
        ("[]", r"x\.jsonl:2\b.*'docno'"),
        ('{"docno": 7, "vector": {}}', r"x\.jsonl:2\b.*'docno'"),
        ('{"docno": "d", "text": "a"}', r"x\.jsonl:2\b.*'d'.*\bvector\b"),
        ('{"docno": "d", "vector": ["a"]}', r"x\.jsonl:2\b.*'d'.*\bvector\b"),
        ('{"docno": "d", "vector": {"a": "1"}}', r"x\.jsonl:2\b.*'d'.*\bweights\b"),
        ('{"docno": "d", "vector": {"a": 1, "b": null}}', r"x\.jsonl:2\b.*'d'.*\bweights\b"),
        ('{"docno": "d", "vector": {"a": -1}}', r"x\.jsonl:2\b.*'d'.*\bweights\b"),
        ('{"docno": "d", "vector": {"a": NaN}}', r"x\.jsonl:2\b.*'d'.*\bweights\b"),
        ('{"docno": "first", "vector": {"a": 1}}', "docno 'first'"),
        ('{"docno": "", "vector": {"a": 1}}', r"docno .*''"),
    ],
)
def test_invalid_lines(line: str, fact: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"docno": "first", "vector": {"a": 1}}\n' + line, encoding="utf-8")
    with pytest.raises(DataError, match=fact):
        import_vectors(path, "jsonl", tmp_path / "store")
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]


def test_invalid_files(store: StoredVectors, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    with pytest.raises(PathNotFoundError, match=str(path)):
        import_vectors(path, "jsonl", tmp_path / "store")
    path.write_bytes(gzip.compress(b'{"docno": "d", "vector": {"dog": 1}}\n' * 99)[:-9])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz:100\b.*Compressed file ended"):  # Python's message
        import_vectors(path, "jsonl", tmp_path / "store")
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match="documents"):
        import_vectors(path, "jsonl", tmp_path / "store")
    path.write_bytes(gzip.compress(b'{"docno": "d", "vector": {"dog": 1}}'))
    with pytest.raises(DataError, match=r"x\.jsonl\.gz:1\b.*'dog'"):
        import_vectors(path, "jsonl", tmp_path / "store", model=store)


def test_queries(tmp_path: Path) -> None:
    """Their weights are floats, which retrievers need. An empty query stays."""
    path = tmp_path / "queries.jsonl"
    path.write_text('{"qid": "q1", "vector": {"a": 2, "b": 0}}\n{"qid": "q2", "vector": {}}\n', encoding="utf-8")
    queries = read_queries(path)
    assert queries["qid"].tolist() == ["q1", "q2"]
    assert queries["query_toks"].tolist() == [{"a": 2.0}, {}]
    assert type(queries["query_toks"][0]["a"]) is float
    path.write_text('{"qid": "q1", "vector": {}}\n{"qid": "q1", "vector": {}}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"queries\.jsonl:2\b.*'q1'"):
        read_queries(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=str(path)):
        read_queries(path)
