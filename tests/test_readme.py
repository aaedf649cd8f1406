"""The documentation does what it says: its code runs, its commands parse, its names exist."""

import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from itertools import islice
from pathlib import Path
from typing import Any

import pyterrier as pt
import pytest
import torch
import typer.main
from more_itertools import partition
from typer.testing import CliRunner

import pyterrier_saesplade
from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.evaluation import read_comparison
from pyterrier_saesplade.evaluation.systems.registry import kinds as kinds_of_systems
from pyterrier_saesplade.model import SaeSpladeModel
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.training import FinetuneConfig

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


@pytest.fixture(scope="module")
def small(docstrings_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 documents of the docstring collection, 20 queries, and the same queries as the query set ``train``."""
    folder = tmp_path_factory.mktemp("collections") / "my-collection"
    whole = open_collection(docstrings_path)
    qrels = whole.qrels().head(20)
    known = set(qrels["docno"])
    answers, others = partition(lambda document: document["docno"] not in known, whole.get_corpus_iter())
    topics = whole.topics()
    topics = topics[topics["qid"].isin(qrels["qid"])]
    write_collection(folder, [*answers, *islice(others, 180)], topics, qrels)
    (folder / "train").mkdir()
    for name in ("queries.tsv", "qrels.txt"):
        shutil.copy(folder / name, folder / "train")
    return folder


@pytest.fixture(scope="module")
def small_model(small: Path, splade_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 latents on the backbone of a small checkpoint, barely trained."""
    folder = tmp_path_factory.mktemp("models") / "my-model"
    SaeSplade.pretrain(splade_path, open_collection(small).get_corpus_iter(), out=folder, width=256, steps=4)
    return folder


@pytest.mark.slow
def test_the_example_of_the_readme(small: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As it stands; only the collection is smaller."""
    home = tmp_path_factory.mktemp("home")
    for jar in Path(pt.io.pyterrier_home()).glob("*.jar"):
        (home / jar.name).symlink_to(jar)
    (home / "saesplade").mkdir()
    (home / "saesplade" / "docstrings").symlink_to(small)
    (example,) = (block for block in markdown_blocks("python") if "open_collection" in block)
    assert len(example.splitlines()) <= 15
    environment = os.environ | {"PYTERRIER_HOME": str(home), "TMPDIR": str(tmp_path_factory.mktemp("temporary"))}
    call = [sys.executable, "-c", example]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    shown = re.search(r"<!-- example output -->\n```text\n(.*?)```", README, re.DOTALL)
    assert shown is not None, "the README shows what its example prints"
    assert header.split() == shown[1].splitlines()[0].split() == ["name", "R@100", "nDCG@10", "mrt"]
    ndcg = {row.split()[1]: float(row.split()[3]) for row in rows}
    assert ndcg.keys() == {"BM25", "concepts"}
    assert all(0.4 < value <= 1 for value in ndcg.values())
    assert {path.name for path in tmp_path.iterdir()} == {"concepts.index", "words.index"}


@pytest.mark.slow
def test_the_pipeline_of_the_readme(
    small: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's own pipeline is a row of the comparison that its command makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("my-collection").symlink_to(small)
    Path("my-model").symlink_to(small_model)
    (module,) = (block for block in markdown_blocks("python") if block.startswith("# my_systems.py"))
    Path("my_systems.py").write_text(module, encoding="utf-8")
    command = next(command for command in commands() if "my_systems:pl2" in command)  # the README's come first
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == 0, done.output
    table = read_comparison(tmp_path / "comparison").table
    assert table["name"].tolist() == ["pl2", "saesplade"]
    assert table["nDCG@10"].between(0.1, 1).all()


@pytest.mark.slow
def test_the_python_of_the_readme(namespace: dict[str, Any], splade_path: Path) -> None:
    """``model`` as a transformer, and what it makes."""
    (block,) = (block for block in markdown_blocks("python") if "from_splade" in block)
    lines = with_small_models(block, splade_path).splitlines()
    results: dict[str, Any] = {}
    namespace |= {"SaeSplade": SaeSplade, "FinetuneConfig": FinetuneConfig}
    for line in lines:
        exec(compile(line, line, "exec"), namespace)
        if line and "=" not in line.split("(")[0] and line.startswith(("model >>", "bm25 >>")):
            results[line] = eval(line, namespace).transform(namespace["topics"].head(2))
    assert len(results) == 2
    assert all(len(found) > 0 for found in results.values())


def test_the_page_of_results_has_room_for_the_demo_s_table() -> None:
    assert re.search(r"^\.\. demo table$.*^\.\. /demo table$", PAGES["results"], re.MULTILINE | re.DOTALL)


def test_every_extra_is_named() -> None:
    """All but those for work on the repository."""
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    ours = {"test", "test-colbert", "browser", "notebooks", "docs", "bench", "dev"}
    extras = set(setup["options.extras_require"]) - ours
    assert {extra for extra in extras if f"``{extra}``" not in PAGES["installation"]} == set()


def test_every_baseline_is_named() -> None:
    listed = re.search(r"`--baseline` takes .*?`module:attribute`", README, re.DOTALL)
    assert listed is not None
    for text in (listed[0], PAGES["comparing"]):
        assert {kind for kind in kinds_of_systems() if not re.search(rf"`{re.escape(kind)}[`=,\[]", text)} == set()


def test_the_length_of_the_readme() -> None:
    assert len(README.splitlines()) <= 250


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
    of_pyserini = {"--encoder", "--output", "--hits"}
    assert set(re.findall(r"(?<=[ `])--[a-z][a-z-]*", README)) <= known | of_pyserini | {"--help", "--debug"}


def test_links_of_the_readme_lead_to_files_and_folders() -> None:
    targets = [target for target in re.findall(r"\]\((.*?)\)", README) if not target.startswith("https://")]
    assert targets
    assert [target for target in targets if not (REPOSITORY / target).exists()] == []


def test_targets_of_make() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def with_small_models(block: str, splade_path: Path) -> str:
    """Puts a small model in the place of those on the hub, and trains for a few steps."""
    for hub in ("distilbert-base-uncased", "naver/splade-v3"):
        block = block.replace(f'"{hub}"', repr(str(splade_path)))
    block = block.replace('out="my-model"', 'out="my-model", width=256, steps=4')
    block = block.replace("steps=250", "steps=2, batch_queries=2, nway=2")
    few = "config=FinetuneConfig(steps=2, batch_queries=2, nway=2)"
    return block.replace('out="my-tuned-model")', f'out="my-tuned-model", {few})')


@pytest.fixture
def namespace(
    request: pytest.FixtureRequest,
    small: Path,
    as_dataset: Callable[[Collection], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """The names that the pages take for granted, in a folder with ``my-collection`` and ``my-model``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    Path("my-collection").symlink_to(small)
    dataset = as_dataset(open_collection(small))
    documents = list(dataset.get_corpus_iter())
    words = pt.terrier.TerrierIndex("words.terrier")
    words.indexer(meta={"docno": 200}).index(documents)
    names: dict[str, Any] = {
        "pt": pt,
        "dataset": dataset,
        "collection": dataset.collection,
        "documents": documents,
        "topics": dataset.get_topics(),
        "qrels": dataset.get_qrels(),
        "bm25": pt.rewrite.tokenise() >> words.bm25(num_results=10),
    }
    page = request.node.callspec.params["page"] if hasattr(request.node, "callspec") else ""
    if page != "how-to":  # which trains the model itself
        Path("my-model").symlink_to(request.getfixturevalue("small_model"))
        names["model"] = SaeSplade.from_pretrained("my-model")
        names["index"] = names["model"].indexer("my.index").index(documents)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("page", ["overview", "how-to", "training", "engines", "figures", "concepts", "comparing"])
def test_the_code_of_a_page(page: str, namespace: dict[str, Any], splade_path: Path) -> None:
    """All Python blocks of a page, in order."""
    (Path("examples")).symlink_to(REPOSITORY / "examples")
    for block in rst_blocks(page, "code-block:: python"):
        block = with_small_models(block, splade_path)
        exec(compile(block, block, "exec"), namespace)
    PAGE_CHECKS.get(page, lambda names: None)(namespace)


def check_how_to(names: dict[str, Any]) -> None:
    assert len(names["pruned"].tf()(names["queries"](pt.new.queries("numpy array")))) > 0
    assert {path.name for path in Path().glob("shared.*")} == {"shared.terrier", "shared.exact"}
    assert names["settings"].width == 32768
    assert names["comparison"].measures == ["nDCG@10", "AP"]


def check_training(names: dict[str, Any]) -> None:
    assert names["tuned"].weighting == names["student"].weighting == "none"


def check_comparing(names: dict[str, Any]) -> None:
    assert read_comparison("own-comparison").table["name"].tolist() == ["bm25", "tf-idf", "PL2", "saesplade"]
    found = set(names["long_retriever"].search("numpy array")["docno"])
    assert found
    assert found <= {document["docno"] for document in names["documents"]}


def check_figures(names: dict[str, Any]) -> None:
    assert Path("figure.pdf").read_bytes().startswith(b"%PDF")


PAGE_CHECKS = {
    "how-to": check_how_to,
    "training": check_training,
    "comparing": check_comparing,
    "figures": check_figures,
}


def test_weights_of_the_paper_s_code(splade_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of the page on the paper, with a checkpoint in the layout of the paper's code."""
    monkeypatch.chdir(tmp_path)
    theirs = SaeSpladeModel.from_backbone(splade_path, width=64, decoder=True).head
    weights = {"W_enc": theirs.W_enc.T, "b_enc": theirs.b_enc, "W_dec": theirs.W_dec, "b_dec": theirs.b_dec}
    torch.save({name: tensor.detach().clone() for name, tensor in weights.items()}, "checkpoint.pt")
    (block,) = rst_blocks("paper", "code-block:: python")
    exec(compile(with_small_models(block, splade_path), "paper.rst", "exec"), {})
    assert SaeSplade.from_pretrained("theirs").width == 64


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
