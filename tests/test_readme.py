"""The documentation does what it says: its code runs, its commands parse, its names exist."""

import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt
import pytest
import torch
import typer.main

import pyterrier_saesplade
from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.evaluation.systems.registry import kinds as kinds_of_systems
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.saesplade import SaeSplade

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")
PAGES = {path.stem: path.read_text("utf-8") for path in (REPOSITORY / "pyterrier_saesplade" / "pt_docs").glob("*.rst")}
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
KINDS = VERBS["plot"].commands


def markdown_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def rst_blocks(page: str, directive: str) -> list[str]:
    """The indented content of each directive of a kind, without its options."""
    found = re.finditer(rf"^( *)\.\. {directive}\n((?:\1 +.*\n|\n)+)", PAGES[page], re.MULTILINE)
    blocks = (textwrap.dedent(match[2]) for match in found)
    return [re.sub(r"^(?::.*\n)*", "", block).strip() + "\n" for block in blocks]


def commands() -> Iterator[str]:
    """Every ``saesplade`` command in the documentation, whatever starts it."""
    blocks = markdown_blocks("bash") + [block for page in PAGES for block in rst_blocks(page, "code-block:: bash")]
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        if match := re.search(r"(?:^saesplade|-m pyterrier_saesplade\.cli) +(.*)", line):
            yield match[1]


def test_the_example_of_the_readme(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (example,) = (block for block in markdown_blocks("python") if "import" in block)
    assert len(example.splitlines()) <= 24
    environment = os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("temporary"))}
    call = [sys.executable, "-c", example]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["name", "R@100", "nDCG@10", "mrt"]
    ndcg = {row.split()[1]: float(row.split()[3]) for row in rows}
    assert ndcg.keys() == {"BM25", "concepts"}
    assert all(0.4 < value <= 1 for value in ndcg.values())
    assert {path.name for path in tmp_path.iterdir()} == {"concepts.index", "words.index"}


def test_the_readme_has_room_for_the_table() -> None:
    assert re.search(r"^<!-- demo table -->$.*^<!-- /demo table -->$", README, re.MULTILINE | re.DOTALL)


def test_every_extra_and_every_baseline_is_named() -> None:
    """But for the extras that belong to work on the repository."""
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    ours = {"test", "test-colbert", "browser", "notebooks", "bench", "dev"}
    extras = set(setup["options.extras_require"]) - ours
    assert {extra for extra in extras if f"`{extra}`" not in README} == set()
    kinds = re.search(r"`--baseline` takes .*?\n`saesplade compare", README, re.DOTALL)
    for text in (kinds[0] if kinds else "", PAGES["comparing"]):
        assert {kind for kind in kinds_of_systems() if not re.search(rf"`{re.escape(kind)}[`=,\[]", text)} == set()


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_parse(command: str) -> None:
    verb, *arguments = shlex.split(command)
    if verb == "plot":
        kind, *arguments = arguments
        KINDS[kind].make_context(kind, arguments)
    else:
        VERBS[verb].make_context(verb, arguments)


def test_every_verb_has_an_example() -> None:
    assert {command.split()[0] for command in commands()} == {*VERBS} - {"demo"}  # which is `make demo`
    assert {command.split()[1] for command in commands() if command.startswith("plot ")} == {*KINDS}


def test_options_of_the_readme_exist() -> None:
    known = {
        option for verb in [*VERBS.values(), *KINDS.values()] for parameter in verb.params for option in parameter.opts
    }
    assert set(re.findall(r"--[a-z][a-z-]*", README)) <= known | {
        "--help",
        "--nproc-per-node",
        "--encoder",
        "--output",
        "--hits",
    }


def test_links_of_the_readme_lead_to_files() -> None:
    targets = [target for target in re.findall(r"\]\((.*?)\)", README) if not target.startswith("https://")]
    assert targets
    assert all((REPOSITORY / target).is_file() for target in targets)


def test_targets_of_make() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@dataclass(frozen=True)
class SmallDataset:
    """A collection with the methods of a PyTerrier dataset that the guides call."""

    collection: Collection

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        return self.collection.get_corpus_iter()

    def get_topics(self) -> pd.DataFrame:
        return self.collection.topics()

    def get_qrels(self) -> pd.DataFrame:
        return self.collection.qrels()

    def text_loader(self) -> pt.Transformer:
        texts = {document["docno"]: document["text"] for document in self.get_corpus_iter()}
        return pt.apply.text(lambda row: texts[row["docno"]])


@pytest.fixture
def dataset(docstrings_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallDataset:
    """60 documents in ``my-collection``, which is in the current folder, and the queries that they answer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    whole = open_collection(docstrings_path)
    qrels = whole.qrels().head(5)
    known = [document for document in whole.get_corpus_iter() if document["docno"] in set(qrels["docno"])]
    others = (document for document in whole.get_corpus_iter() if document not in known)
    topics = whole.topics()
    topics = topics[topics["qid"].isin(qrels["qid"])]
    written = write_collection("my-collection", [*known, *islice(others, 55)], topics, qrels)
    (tmp_path / "my-collection" / "train").mkdir()
    for name in ("queries.tsv", "qrels.txt"):
        shutil.copy(tmp_path / "my-collection" / name, tmp_path / "my-collection" / "train")
    return SmallDataset(written)


def test_the_guides_run(
    dataset: SmallDataset, splade_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All code blocks of the how-to pages, in order; a small model takes the place of those on the hub."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    theirs = SaeSpladeModel.from_backbone(splade_path, width=64, decoder=True).head
    weights = {"W_enc": theirs.W_enc.T, "b_enc": theirs.b_enc, "W_dec": theirs.W_dec, "b_dec": theirs.b_dec}
    torch.save({name: tensor.detach().clone() for name, tensor in weights.items()}, "checkpoint.pt")
    words = pt.terrier.TerrierIndex("words.terrier")
    words.indexer(meta={"docno": 200}).index(dataset.get_corpus_iter())
    bm25 = pt.rewrite.tokenise() >> words.bm25(num_results=10)
    names: dict[str, Any] = {"dataset": dataset, "documents": list(dataset.get_corpus_iter()), "bm25": bm25}
    pages = ("how-to", "training", "paper", "figures", "concepts", "comparing")
    for block in (block for page in pages for block in rst_blocks(page, "code-block:: python")):
        for hub in ("distilbert-base-uncased", "naver/splade-v3"):
            block = block.replace(f'"{hub}"', repr(str(splade_path)))
        block = block.replace('out="my-model"', 'out="my-model", width=256, steps=4')
        block = block.replace("steps=250", "steps=2, batch_queries=2, nway=2")
        exec(compile(block, block, "exec"), names)
    assert names["settings"].width == 32768
    assert names["comparison"].measures == ["nDCG@10", "AP"]
    assert names["tuned"].weighting == names["student"].weighting == "none"
    assert SaeSplade.from_pretrained("theirs").width == 64
    assert len(names["pruned"].tf()(names["queries"](pt.new.queries("numpy array")))) > 0
    assert set(names["long_retriever"].search("numpy array")["docno"]) <= {d["docno"] for d in names["documents"]}
    assert {path.name for path in tmp_path.glob("shared.*")} == {"shared.terrier", "shared.exact"}


def test_schematics_are_drawn(splade_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # PyTerrier looks its own classes up online
    monkeypatch.setattr(pt.documentation, "url_for_class", lambda stage: None)
    blocks = rst_blocks("overview", "schematic::")
    assert len(blocks) == 3
    for block in blocks:
        block = block.replace('"naver/splade-cocondenser-ensembledistil"', repr(str(splade_path)))
        *statements, pipeline = block.splitlines()
        names: dict[str, Any] = {"pt": pt}
        exec("\n".join(statements), names)
        assert "api.html#pyterrier_saesplade." in pt.schematic.draw(eval(pipeline, names))


def test_names_of_the_pages_exist() -> None:
    text = "\n".join(PAGES.values())
    for name in re.findall(r":(?:class|meth|func):`~?(pyterrier_saesplade[\w.]*)`", text):
        pkgutil.resolve_name(name)


def test_the_reference_is_complete() -> None:
    entries = re.findall(r"^\.\. auto(?:class|function):: (\S+)\n((?: +:.*\n)*)", PAGES["api"], re.MULTILINE)
    for name, options in entries:
        for member in re.findall(r":members: (.+)", options):
            for method in member.split(","):
                pkgutil.resolve_name(f"{name}.{method.strip()}")
        pkgutil.resolve_name(name)
    assert {f"pyterrier_saesplade.{name}" for name in pyterrier_saesplade.__all__} <= {name for name, _ in entries}


def test_the_pages_are_linked() -> None:
    assert set(re.findall(r"<([\w-]+)>$", PAGES["index"], re.MULTILINE)) == PAGES.keys() - {"index"}
