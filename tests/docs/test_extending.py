"""The examples of the page about extending: files are written as it says, and the rest of the code is run."""

import importlib
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pyterrier_saesplade import SaeSplade
from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.evaluation import ArtifactCache, Corpus, make_system
from pyterrier_saesplade.evaluation.systems.kinds import KINDS

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "pyterrier_saesplade" / "pt_docs" / "extending.rst").read_text("utf-8")
_BLOCK = re.compile(r"^\.\. code-block:: \w+\n    :caption: (.+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_MODULES = ("matrix_engine", "my_baselines", "overlap")


def examples() -> dict[str, str]:
    """The code by its caption: the name of a file, or what the code does."""
    return {caption: textwrap.dedent(code) for caption, code in _BLOCK.findall(PAGE)}


EXAMPLES = examples()


@pytest.fixture
def folder_of_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, my_collection: Path, my_model: Path
) -> Iterator[Path]:
    """The current folder, with the files of the page; its package counts as installed."""
    for name, code in EXAMPLES.items():
        if " " not in name:
            (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "my-collection").symlink_to(my_collection)
    (tmp_path / "my-model").symlink_to(my_model)
    install(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    KINDS.pop("overlap", None)
    for module in _MODULES:
        sys.modules.pop(module, None)


def install(folder: Path) -> None:
    """Writes what pip writes for a package: its metadata and entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in own.items()) for group, own in groups]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


def run(caption: str, **names: object) -> dict[str, object]:
    """Runs a block, and returns the names that it leaves."""
    exec(compile(EXAMPLES[caption], caption, "exec"), names)
    return names


@pytest.mark.usefixtures("folder_of_page")
def test_an_engine(model: SaeSplade, documents: list[dict[str, str]], topics: pd.DataFrame) -> None:
    """It indexes and searches, and gives the results of the engine ``exact``, which the example itself compares."""
    names = run("Comparing the engine with the reference", model=model, documents=documents, topics=topics)
    engine = importlib.import_module("matrix_engine").MatrixConceptIndex
    assert type(names["index"]) is engine
    assert set(names["found"]["qid"]) == set(topics["qid"])
    assert len(names["index"]) == len(documents)
    assert names["index"].metadata["versions"]["scipy"]
    assert type(model.indexer("by-class", engine).index(documents)) is engine


@pytest.mark.slow
def test_baselines(folder_of_page: Path, collection: Collection) -> None:
    comparison = run("Both baselines as rows of a comparison")["comparison"]
    table = comparison.table.set_index("name")
    assert list(table.index) == ["overlap-shortest3", "word_overlap", "saesplade"]
    assert (table["nDCG@10"] > 0).all()
    assert table.loc["overlap-shortest3", ["index_mb", "build_seconds"]].gt(0).all()
    assert comparison.notes[0] == "overlap-shortest3: number of common words of at least 3 letters"
    system = make_system("overlap")
    _, retriever = system.stages(ArtifactCache(Corpus.read(collection), folder_of_page), ignore_identical_ids=True)
    topics = pd.DataFrame({"qid": ["d1", "q"], "query": ["the river bank"] * 2})
    found = retriever(topics).groupby("qid")["docno"].agg(set)
    assert found["d1"] == found["q"] - {"d1"} != found["q"]


@pytest.mark.slow
@pytest.mark.usefixtures("folder_of_page")
def test_a_suite() -> None:
    names = run("Evaluating on it")
    assert list(names["suite"].sets) == ["test", "train"]
    assert names["suite"].sets["train"].query_max_length == 16
    assert names["results"].table.columns.tolist() == ["test", "train", "mean"]
    assert names["results"].table.index.tolist() == ["word_overlap", "saesplade"]


def test_every_example_is_run() -> None:
    prose = {caption for caption in EXAMPLES if " " in caption}
    assert prose == set(re.findall(r'run\("(.+?)"', Path(__file__).read_text("utf-8")))
