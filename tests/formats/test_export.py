"""Exporting and importing: complete or not at all, no unrequested replacement, no import of PyTerrier."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyterrier_saesplade.engines import ENGINES, ConceptIndexer
from pyterrier_saesplade.errors import PathExistsError, SettingError
from pyterrier_saesplade.formats import export, import_vectors
from pyterrier_saesplade.formats.exports import FORMATS
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.store import StoredVectors


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_replaced_unrequested(format: str, store: StoredVectors, tmp_path: Path) -> None:
    """An export is replaced on request. Any other folder is never replaced."""
    out = tmp_path / "out"
    assert export(str(store.folder), format, out) == out
    with pytest.raises(PathExistsError, match=str(out)):
        export(store, format, out)
    export(store, format, out, overwrite=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").touch()
    with pytest.raises(PathExistsError, match=str(tmp_path / "notes")):
        export(store, format, tmp_path / "notes", overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "notes", store.folder.name}


@pytest.mark.parametrize("format", FORMATS)
def test_a_failed_export_leaves_nothing(
    format: str, store: StoredVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier export stays."""
    out = export(store, format, tmp_path / "out")

    def interrupted(made: Path, path: Path, replaced: Path) -> None:
        assert made.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("pyterrier_saesplade.files._move_into_place", interrupted)
    for path in (out, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            export(store, format, path, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out", store.folder.name}


def test_the_description_of_an_export(store: StoredVectors, tmp_path: Path) -> None:
    folder = export(store, "npz", tmp_path / "out", quantization=Quantization(20, clip=255))
    description = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    assert description["format"] == "npz"
    assert (description["model"], description["fingerprint"]) == ("a model", store.fingerprint)
    assert description["quantization"] == {"scale": 20, "clip": 255}
    assert (description["n_docs"], description["width"], description["weighting"]) == (6, 6, "idf")


def test_settings_are_checked(store: StoredVectors, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"'lucene'.*'anserini', 'ciff', 'jsonl'"):
        export(store, "lucene", tmp_path / "out")
    with pytest.raises(SettingError, match=r"'anserini'.*'npz'"):
        export(store, "npz", tmp_path / "out", queries=tmp_path / "queries.parquet")
    with pytest.raises(SettingError, match=r"'ciff'.*'jsonl'.*'npz'"):
        import_vectors(tmp_path / "x.npz", "npz", tmp_path / "out")
    with pytest.raises(SettingError, match=r"scale .*\b0\b"):
        import_vectors(tmp_path / "x.jsonl", "jsonl", tmp_path / "out", scale=0)
    with pytest.raises(PathExistsError, match=str(store.folder)):
        import_vectors(tmp_path / "x.jsonl", "jsonl", store.folder)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["ciff", "jsonl"])
def test_an_imported_store_is_indexed_by_several_engines(
    format: str, random_store: StoredVectors, tmp_path: Path
) -> None:
    """Its scores are those of the original store."""
    quantization = Quantization(5)
    path = export(random_store, format, tmp_path / "vectors", quantization=quantization)
    imported = import_vectors(path, format, tmp_path / "imported", model=random_store, scale=5)
    queries = [{"qid": str(i), "query_toks": {"c0": 0.1, f"c{i}": 1.5, f"c{i + 9}": 0.7}} for i in range(1, 40)]
    exact = ConceptIndexer(random_store, tmp_path / "exact", "exact", quantization=quantization).index(random_store)
    expected = [(row["qid"], row["docno"], row["score"]) for row in exact.retriever(weighting="none")(queries)]
    assert len(expected) > 11_000
    for engine in ("terrier", "exact", "pisa"):
        assert engine in ENGINES
        indexer = ConceptIndexer(imported, tmp_path / f"{engine}.index", engine, quantization=quantization)
        run = indexer.index(imported).retriever(weighting="none")(queries)
        assert sorted((row["qid"], row["docno"], row["score"]) for row in run) == sorted(expected)


@pytest.mark.slow
def test_pyterrier_is_not_imported() -> None:
    program = """
import sys
import pyterrier_saesplade.formats.exports, pyterrier_saesplade.formats.imports
print([name for name in ("pyterrier", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
