"""JSON lines: short floats, exact there and back, and every bad line named."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pyterrier_saesplade.formats import export, import_vectors, read_queries
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.store import StoredVectors

Content = Callable[[StoredVectors], list[tuple[str, dict[str, float]]]]


def test_what_is_written(store: StoredVectors, tmp_path: Path) -> None:
    """Floats as short as they can be, or integers; empty documents stay; equal vectors make equal files."""
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
def test_there_and_back(name: str, store: StoredVectors, content: Content, tmp_path: Path) -> None:
    """Every weight to the last bit; with the model the same latents, without it the same names."""
    path = export(store, "jsonl", tmp_path / name)
    again = import_vectors(path, "jsonl", tmp_path / "again", model=store)
    assert list(again.get_corpus_iter()) == list(store.get_corpus_iter())
    assert (str(again), again.fingerprint, again.weighting) == ("a model", store.fingerprint, "idf")
    assert again.terms.pieces == store.terms.pieces
    unknown = import_vectors(path, "jsonl", tmp_path / "unknown")
    assert content(unknown) == content(store)
    assert (str(unknown), unknown.weighting, len(unknown.fingerprint)) == (name, "none", 64)
    assert unknown.terms.pieces == ["##ing", ".", "c12", "cat", "never.", "東京"]


def test_integers_are_weights_again(tmp_path: Path) -> None:
    """0 is no weight; the same integers follow from the scale."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"docno": "d", "vector": {"a": 0, "b": 153, "c": 255, "d": 256, "e": 70000}}\n', encoding="utf-8")
    store = import_vectors(path, "jsonl", tmp_path / "store", scale=100)
    (document,) = store.get_corpus_iter()
    assert document["toks"] == pytest.approx({"b": 1.53, "c": 2.55, "d": 2.56, "e": 700})
    assert Quantization(100).quantize_toks(document["toks"]) == {"b": 153, "c": 255, "d": 256, "e": 70000}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", r"x\.jsonl:2: Expecting property name"),
        ("[]", r"x\.jsonl:2: expected a JSON object with a text 'docno'"),
        ('{"docno": 7, "vector": {}}', r"x\.jsonl:2: expected a JSON object with a text 'docno'"),
        ('{"docno": "d", "text": "a"}', r"x\.jsonl:2: 'd' has no vector"),
        ('{"docno": "d", "vector": ["a"]}', r"x\.jsonl:2: 'd' has no vector"),
        ('{"docno": "d", "vector": {"a": "1"}}', r"x\.jsonl:2: 'd' has weights that are no numbers"),
        ('{"docno": "d", "vector": {"a": 1, "b": null}}', r"x\.jsonl:2: 'd' has weights that are no numbers"),
        ('{"docno": "d", "vector": {"a": -1}}', r"x\.jsonl:2: 'd' has weights that are no numbers"),
        ('{"docno": "d", "vector": {"a": NaN}}', r"x\.jsonl:2: 'd' has weights that are no numbers"),
        ('{"docno": "first", "vector": {"a": 1}}', "'first' occurs more than once"),
        ('{"docno": "", "vector": {"a": 1}}', "a docno must be a text of one line"),
    ],
)
def test_bad_lines(line: str, error: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"docno": "first", "vector": {"a": 1}}\n' + line, encoding="utf-8")
    with pytest.raises(ValueError, match=error):
        import_vectors(path, "jsonl", tmp_path / "store")
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]


def test_bad_files(store: StoredVectors, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    with pytest.raises(FileNotFoundError):
        import_vectors(path, "jsonl", tmp_path / "store")
    path.write_bytes(gzip.compress(b'{"docno": "d", "vector": {"dog": 1}}\n' * 99)[:-9])
    with pytest.raises(ValueError, match=r"x\.jsonl\.gz:\d+: cannot be decompressed"):
        import_vectors(path, "jsonl", tmp_path / "store")
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="there are no documents"):
        import_vectors(path, "jsonl", tmp_path / "store")
    path.write_bytes(gzip.compress(b'{"docno": "d", "vector": {"dog": 1}}'))
    with pytest.raises(ValueError, match=r"x\.jsonl\.gz:1: 'dog' is not in the model's vocabulary"):
        import_vectors(path, "jsonl", tmp_path / "store", model=store)


def test_queries(tmp_path: Path) -> None:
    """Floats, so that they can be searched with; an empty one stays."""
    path = tmp_path / "queries.jsonl"
    path.write_text('{"qid": "q1", "vector": {"a": 2, "b": 0}}\n{"qid": "q2", "vector": {}}\n', encoding="utf-8")
    queries = read_queries(path)
    assert queries["qid"].tolist() == ["q1", "q2"]
    assert queries["query_toks"].tolist() == [{"a": 2.0}, {}]
    assert type(queries["query_toks"][0]["a"]) is float
    path.write_text('{"qid": "q1", "vector": {}}\n{"qid": "q1", "vector": {}}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"queries\.jsonl:2: qid 'q1' stands in this file twice"):
        read_queries(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"queries\.jsonl has no queries"):
        read_queries(path)
