"""Indexes and stores are uploaded and downloaded, and their README describes them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pyterrier as pt
import pytest

from pyterrier_saesplade.engines import ENGINES, ConceptIndexer
from pyterrier_saesplade.errors import DataError
from pyterrier_saesplade.formats import import_vectors
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import ConceptStore, encode_corpus

from .conftest import EVERY_ENGINE

DOCUMENTS = [
    {"docno": "1", "text": "sparse retrieval with concepts"},
    {"docno": "é ☃", "text": "naïve café — ☃ 東京"},
    {"docno": "empty", "text": ""},
    {"docno": "4", "text": "music of the spheres"},
]
TOPICS = [{"qid": "1", "query": "concepts of music"}, {"qid": "2", "query": "café in 東京"}]


class Documents:
    def get_corpus_iter(self) -> Any:
        return iter(DOCUMENTS)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the hub: a folder that uploads are copied to."""
    folder = tmp_path / "hub"

    def upload_folder(*, folder_path: str, **settings: str) -> str:
        assert settings == {"repo_id": "me/concepts", "repo_type": "dataset", "revision": "main"}
        return str(shutil.copytree(folder_path, folder))

    for name in ("create_repo", "create_branch"):
        monkeypatch.setattr(huggingface_hub, name, lambda *arguments, **settings: None)
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload_folder)
    return folder


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_an_index_packed_and_unpacked_gives_the_same_run(
    engine: str, model: SaeSplade, tmp_path: Path, hub: Path, served: Callable[[Path], str]
) -> None:
    """The original index is deleted first, so nothing may refer to its path."""
    index = model.indexer(tmp_path / "index", engine).index(DOCUMENTS)
    expected = [(row["qid"], row["docno"], row["score"]) for row in model.retriever(index)(TOPICS)]
    assert len(expected) > 2
    index.to_hf("me/concepts", pretty_name="Concepts of nothing")
    metadata = index.metadata
    shutil.rmtree(tmp_path / "index")
    again = pt.Artifact.from_url(served(hub / "artifact.tar.lz4"))
    assert type(again) is ENGINES[engine]
    assert again.metadata == metadata
    assert [(row["qid"], row["docno"], row["score"]) for row in model.retriever(again)(TOPICS)] == expected
    readme = (hub / "README.md").read_text(encoding="utf-8")
    assert "TODO" not in readme
    assert "# Concepts of nothing" in readme
    assert f"- pyterrier-artifact.concept_index.{engine}\n" in readme
    assert re.search(rf"\b4 documents\b.*\b{metadata['n_postings']} postings\b.*\b2,048 latents\b", readme)
    assert f": {engine}\n" in readme
    assert re.search(r"^- weights: floats$" if index.quantization is None else r"^- weights: .*\b10\b", readme, re.M)
    assert re.search(r"^- .*\bidf$", readme, re.M)
    assert model.fingerprint in readme


def test_the_code_in_the_readme_of_an_index_runs(model: SaeSplade, tmp_path: Path, hub: Path) -> None:
    """It opens the model, and builds the same index again."""
    index = model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    index.to_hf("me/concepts")
    names: dict[str, Any] = {"artifact": index, "documents": DOCUMENTS}
    usage, reproduction = code_of(hub)
    assert "artifact = pt.Artifact.from_hf('me/concepts')\n" in usage
    exec(usage.replace("artifact = ", "same = lambda: "), names)
    assert names["model"] == model
    exec(reproduction.replace('"concepts.index"', repr(str(tmp_path / "again"))), names)
    assert pt.Artifact.load(str(tmp_path / "again")).metadata == index.metadata


def test_a_store(model: SaeSplade, tmp_path: Path, hub: Path, served: Callable[[Path], str]) -> None:
    """Its README has no list of word pieces or files, and the code in it runs."""
    store = encode_corpus(model, Documents(), tmp_path / "store")
    assert store is not None
    artifact = pt.Artifact.load(str(store.folder))
    artifact.to_hf("me/concepts")
    readme = (hub / "README.md").read_text(encoding="utf-8")
    assert "TODO" not in readme
    assert "4 documents" in readme
    assert model.fingerprint in readme
    assert '"pieces"' not in readme
    assert '"parts"' not in readme
    again = pt.Artifact.from_url(served(hub / "artifact.tar.lz4"))
    assert isinstance(again, ConceptStore)
    usage, reproduction = code_of(hub)
    names: dict[str, Any] = {"artifact": again, "dataset": Documents()}
    usage = usage.replace('"concepts.index"', f'{str(tmp_path / "index")!r}, "exact"')
    exec(usage.replace("artifact = ", "same = lambda: "), names)
    assert len(names["index"]) == 4
    exec(reproduction.replace('"vectors"', repr(str(tmp_path / "again"))), names)
    assert list(ConceptStore(tmp_path / "again").get_corpus_iter()) == list(store.get_corpus_iter())


def test_vectors_of_an_unknown_model(tmp_path: Path, hub: Path) -> None:
    """The README names their file, and contains no code that would not run."""
    (tmp_path / "docs.jsonl").write_text('{"docno": "d", "vector": {"a": 1}}', encoding="utf-8")
    store = import_vectors(tmp_path / "docs.jsonl", "jsonl", tmp_path / "store")
    ConceptIndexer(store, tmp_path / "index", "exact").index(store).to_hf("me/concepts")
    readme = (hub / "README.md").read_text(encoding="utf-8")
    assert "- model: `docs.jsonl`, fingerprint" in readme
    assert "## Reproduction" not in readme
    (usage,) = code_of(hub)
    assert "artifact.retriever()" in usage


def code_of(hub: Path) -> list[str]:
    blocks = (hub / "README.md").read_text(encoding="utf-8").split("```python\n")[1:]
    return [block.split("```")[0] for block in blocks]


@pytest.mark.parametrize("file", ["statistics.npz", "terms.json", "docnos.json"])
def test_a_damaged_file_is_named(random_model_path: Path, tmp_path: Path, file: str) -> None:
    model = SaeSplade.from_pretrained(random_model_path)
    index = model.indexer(tmp_path / "index", "exact").index(DOCUMENTS)
    path = tmp_path / "index" / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=re.escape(str(path))):
        model.retriever(str(index.path)).search("music")
