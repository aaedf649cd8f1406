"""The command line: every command on real engines. User errors are one line, with exit code 2."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pyterrier as pt
import pytest
from typer.testing import CliRunner

from pyterrier_saesplade.cli import app
from pyterrier_saesplade.collections import open_collection
from pyterrier_saesplade.demo import demo
from pyterrier_saesplade.engines.java import JavaHomeInit
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.saesplade import SaeSplade


def saesplade(*arguments: object) -> str:
    """Runs a command that must succeed, and returns what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def mistake(*arguments: object) -> str:
    """Runs a command that must fail with a user error, and returns its line."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def names(line: str, *facts: str) -> bool:
    """Whether a line names all facts, such as paths, values and options."""
    return all(re.search(rf"(?<![\w-]){re.escape(fact)}(?![\w-])", line) for fact in facts)


@pytest.mark.slow
def test_pretrain_takes_settings_from_file_and_options(folder: Path, splade_path: Path) -> None:
    """Options go before the file. An existing model is not overwritten."""
    model = SaeSplade.from_pretrained(folder / "model")
    assert model.width == 64
    assert json.loads((folder / "model" / "config.json").read_text())["k"] == 4
    assert json.loads((folder / "model" / "training.json").read_text())["settings"]["steps"] == 3
    assert "SIGIR" in (folder / "model" / "README.md").read_text()
    line = mistake("pretrain", "--collection", folder / "docs", "--backbone", splade_path, "--out", folder / "model")
    assert line.startswith("saesplade: ")
    assert str(folder / "model") in line


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["terrier", "exact"])
def test_index_and_search(folder: Path, tmp_path: Path, engine: str) -> None:
    """The run on disk is equal to the run of the same model and index in Python."""
    index, run = tmp_path / "index", tmp_path / "run.trec.gz"
    built = ["index", "--collection", folder / "docs", "--model", folder / "model", "--out", index, "--engine", engine]
    saesplade(*built)
    assert str(index) in mistake(*built)
    saesplade(*built, "--overwrite")
    topics = folder / "docs" / "queries.tsv"
    searched = ["search", "--index", index, "--model", folder / "model", "--topics", topics, "--out", run]
    saesplade(*searched, "--num-results", 5, "--tag", engine)
    model = SaeSplade.from_pretrained(folder / "model")
    expected = model.retriever(pt.Artifact.load(str(index)), num_results=5)(open_collection(folder / "docs").topics())
    written = pt.io.read_results(str(run))
    assert set(written["name"]) == {engine}
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(written[columns], expected[columns].reset_index(drop=True), check_dtype=False)
    assert str(run) in mistake(*searched)


@pytest.mark.slow
def test_settings_of_the_model_and_a_splade_checkpoint(folder: Path, splade_path: Path, tmp_path: Path) -> None:
    """Options that change vectors must be equal for the index and the search. SPLADE checkpoints work the same way."""
    topics = folder / "docs" / "queries.tsv"
    options = ["--k", 2, "--doc-max-length", 9, "--precision", "float32", "--device", "cpu"]
    model = ["--model", folder / "model"]
    index, run = ["--index", tmp_path / "index"], ["--out", tmp_path / "run.trec"]
    saesplade("index", "--collection", folder / "docs", *model, "--out", index[1], "--engine", "exact", *options)
    assert str(index[1]) in mistake("search", *index, *model, "--topics", topics, *run)
    saesplade("search", *index, *model, "--topics", topics, *run, *options)
    expected = SaeSplade.from_pretrained(folder / "model", k=2, doc_max_length=9, precision="float32")
    found = expected.retriever(pt.Artifact.load(str(index[1])))(open_collection(folder / "docs").topics())
    assert pt.io.read_results(str(run[1]))["docno"].tolist() == found["docno"].tolist()

    model = ["--model", f"splade={splade_path}"]
    index, run = ["--index", tmp_path / "splade"], ["--out", tmp_path / "splade.trec"]
    saesplade("index", "--collection", folder / "docs", *model, "--out", index[1], "--engine", "exact")
    saesplade("search", *index, *model, "--topics", topics, *run)
    found = SaeSplade.from_splade(splade_path).retriever(pt.Artifact.load(str(index[1])))(
        open_collection(folder / "docs").topics()
    )
    assert pt.io.read_results(str(run[1]))["docno"].tolist() == found["docno"].tolist()
    assert "'--precision'" in mistake("search", *index, *model, "--topics", topics, *run, "--precision", "8")


@pytest.mark.slow
def test_pruning(folder: Path, tmp_path: Path) -> None:
    """The command has the options of the indexer, and the index records what was removed."""
    built = ["index", "--collection", folder / "docs", "--model", folder / "model", "--engine", "exact", "--out"]
    rules = ["--prune-k", 9, "--prune-ratio", 0.1, "--prune-mass", 0.9, "--prune-threshold", 0.01, "--max-df", 0.75]
    saesplade(*built, tmp_path / "pruned", *rules)
    removed = json.loads((tmp_path / "pruned" / "pt_meta.json").read_text())["pruning"]
    assert removed["documents"] == {"k": 9, "max_ratio": 0.1, "mass": 0.9, "threshold": 0.01}
    assert removed["max_df"] == 0.75
    assert removed["pruned_postings"] > 0
    saesplade(*built, tmp_path / "whole", "--max-df", 1)
    whole = json.loads((tmp_path / "whole" / "pt_meta.json").read_text())["pruning"]
    assert whole["documents"] is None
    assert (whole["dropped_latents"], whole["pruned_postings"]) == (0, 0)
    assert names(mistake(*built, tmp_path / "new", "--prune-k", 0), "--prune-k")
    assert names(mistake(*built, tmp_path / "new", "--prune-mass", 90), "mass", "90")
    assert names(mistake(*built, tmp_path / "new", "--max-df", 50), "max_df", "50")


@pytest.mark.slow
def test_encode_once(folder: Path, tmp_path: Path) -> None:
    """A store in two shards, an index of it, and queries in a file give the run of the model."""
    store, index, run = tmp_path / "store", tmp_path / "index", tmp_path / "run.trec"
    encoded = ["encode", "--model", folder / "model", "--collection", folder / "docs", "--out", store]
    saesplade(*encoded, "--shard", "1/2")
    assert str(store) in mistake("index", "--store", store, "--out", index)
    saesplade(*encoded, "--shard", "0/2")
    saesplade("index", "--store", store, "--out", index, "--engine", "exact")
    topics, queries = folder / "docs" / "queries.tsv", tmp_path / "queries.parquet"
    saesplade("encode", "--model", folder / "model", "--queries", topics, "--out", queries)
    assert str(topics) in mistake("search", "--index", index, "--topics", topics, "--out", run)
    saesplade("search", "--index", index, "--topics", queries, "--out", run)
    model = SaeSplade.from_pretrained(folder / "model")
    expected = model.retriever(pt.Artifact.load(str(index)))(open_collection(folder / "docs").topics())
    assert pt.io.read_results(str(run))["docno"].tolist() == expected["docno"].tolist()
    assert names(mistake("encode", "--model", folder / "model", "--out", store), "--collection", "--queries")
    assert names(mistake(*encoded, "--shard", "2"), "--shard", "2")
    assert names(mistake("index", "--out", tmp_path / "new"), "--collection", "--model", "--store")
    embedded = ["index", "--store", store, "--out", tmp_path / "new", "--engine", "milvus", "--engine-option"]
    assert names(mistake(*embedded, "num_partitions"), "--engine-option", "num_partitions")
    assert names(mistake(*embedded, "partitions=3"), "'milvus'", "'partitions'")
    saesplade(*embedded, "num_partitions=3")
    assert len(pt.Artifact.load(str(tmp_path / "new"))) == 24


@pytest.mark.slow
def test_from_one_tool_to_another(tmp_path: Path) -> None:
    """Vectors of another tool are indexed and searched without a model, inspected, exported, and imported again."""
    docs, queries = tmp_path / "docs.jsonl", tmp_path / "queries.jsonl"
    docs.write_text('{"docno": "d1", "vector": {"a": 30}}\n{"docno": "d2", "vector": {"a": 10, "b": 5}}\n')
    queries.write_text('{"qid": "q1", "vector": {"a": 2, "b": 1}}\n')
    store, index, run = tmp_path / "store", tmp_path / "index", tmp_path / "run.trec"
    imported = ["import", "--file", docs, "--format", "jsonl", "--scale", 10, "--out", store]
    saesplade(*imported)
    assert str(store) in mistake(*imported)
    saesplade("index", "--store", store, "--out", index, "--engine", "exact")
    saesplade("search", "--index", index, "--topics", queries, "--out", run)
    assert run.read_text() == "q1 Q0 d1 0 6.0 saesplade\nq1 Q0 d2 1 2.5 saesplade\n"
    assert "documents     2\n" in saesplade("inspect", index)
    assert json.loads(saesplade("inspect", store, "--json"))["most_frequent"][0] == {"latent": "a", "df": 2}
    assert str(tmp_path / "nowhere") in mistake("inspect", tmp_path / "nowhere")
    exported = ["export", "--store", store, "--format", "jsonl", "--out", tmp_path / "again.jsonl"]
    saesplade(*exported, "--scale", 10)
    assert (tmp_path / "again.jsonl").read_text() == docs.read_text()
    assert str(tmp_path / "again.jsonl") in mistake(*exported)
    saesplade(*exported, "--overwrite")
    assert '{"a": 3.0}' in (tmp_path / "again.jsonl").read_text()
    saesplade("export", "--store", store, "--format", "ciff", "--out", tmp_path / "x.ciff")
    saesplade("import", "--file", tmp_path / "x.ciff", "--format", "ciff", "--scale", 10, "--out", tmp_path / "other")
    assert json.loads(saesplade("inspect", tmp_path / "other", "--json"))["n_postings"] == 3
    assert "'pdf'" in mistake(*exported[:4], "pdf", "--out", tmp_path / "x.pdf")


@pytest.mark.slow
def test_an_import_with_its_model(folder: Path, tmp_path: Path) -> None:
    """The store then belongs to the model."""
    model = SaeSplade.from_pretrained(folder / "model")
    (tmp_path / "docs.jsonl").write_text('{"docno": "d1", "vector": {"c5": 1.5}}\n')
    arguments = ["import", "--file", tmp_path / "docs.jsonl", "--format", "jsonl", "--model", folder / "model"]
    saesplade(*arguments, "--out", tmp_path / "store")
    inspected = json.loads(saesplade("inspect", tmp_path / "store", "--json"))
    assert (inspected["fingerprint"], inspected["width"]) == (model.fingerprint, 64)


@pytest.mark.slow
def test_search_with_another_model(folder: Path, tmp_path: Path) -> None:
    """An index is searched only with the model that built it."""
    other = shutil.copytree(folder / "model", tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"doc_max_length": 99}))
    index = tmp_path / "index"
    saesplade("index", "--collection", folder / "docs", "--model", folder / "model", "--out", index)
    topics, run = folder / "docs" / "queries.tsv", tmp_path / "run.trec"
    line = mistake("search", "--index", index, "--model", other, "--topics", topics, "--out", run)
    assert str(index) in line
    assert not run.exists()


@pytest.mark.slow
def test_evaluate(folder: Path, tmp_path: Path) -> None:
    """The command prints the table that it writes, with the given measures and baselines in order."""
    arguments = ["evaluate", "--collection", folder / "docs", "--model", folder / "model", "--out", tmp_path / "out"]
    measures = ["--measure", "AP(rel=2)", "--measure", "nDCG@10"]
    printed = saesplade(*arguments, "--baseline", "bm25", *measures)
    assert "docs: 24 documents, 2 judged queries" in printed
    assert "k1 0.9, b 0.4" in printed
    objects = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [system["name"] for system in objects] == ["bm25", "saesplade"]
    assert list(objects[0])[:3] == ["name", "AP(rel=2)", "nDCG@10"]
    for system in objects:
        assert re.search(rf"^ *{system['name']} +{system['AP(rel=2)']:.3f} +{system['nDCG@10']:.3f} ", printed, re.M)
    assert str(tmp_path / "out" / "results.json") in mistake(*arguments)


@pytest.mark.slow
def test_evaluate_another_query_set(folder: Path, tmp_path: Path) -> None:
    """A further query set, in which a query may be a document. Suites have settings for both, so the options clash."""
    docs = shutil.copytree(folder / "docs", tmp_path / "docs")
    (docs / "own").mkdir()
    (docs / "own" / "queries.tsv").write_text("d3\tsparse latent concept\n")
    (docs / "own" / "qrels.txt").write_text("d3 0 d5 1\n")
    arguments = ["evaluate", "--model", folder / "model", "--out", tmp_path / "out", "--baseline", "bm25"]
    arguments += ["--query-set", "own", "--ignore-identical-ids"]
    assert "docs/own: 24 documents, 1 judged queries" in saesplade(*arguments, "--collection", docs)
    settings = json.loads((tmp_path / "out" / "about.json").read_text())["settings"]
    assert (settings["query_set"], settings["ignore_identical_ids"]) == ("own", True)
    assert "d3" not in pt.io.read_results(str(tmp_path / "out" / "runs" / "saesplade.trec.gz"))["docno"].tolist()
    assert "--query-set" in mistake(*arguments, "--suite", tmp_path)
    del arguments[-3:-1]
    assert "--ignore-identical-ids" in mistake(*arguments, "--suite", tmp_path)


@pytest.mark.slow
def test_explain_and_concepts(folder: Path, tmp_path: Path) -> None:
    """Explaining the score of a text or of a document; making, using and searching a lexicon."""
    model, docs, lexicon = ["--model", folder / "model"], ["--collection", folder / "docs"], tmp_path / "l.parquet"
    made = ["concepts", *model, *docs, "--lexicon", lexicon]
    saesplade(*made)
    assert str(lexicon) in mistake(*made)
    looked_up = saesplade("concepts", "sparse", *model, "--lexicon", lexicon, "--limit", 2)
    assert looked_up.count("  df ") >= 3
    assert "«sparse»" in looked_up
    assert saesplade("concepts", "sparse", "--lexicon", lexicon, "--limit", 2) in looked_up
    saesplade("index", *docs, *model, "--out", tmp_path / "index", "--engine", "exact")
    retriever = SaeSplade.from_pretrained(folder / "model").retriever(tmp_path / "index", 1)
    query = "sparse latent concept"
    best = retriever.search(query).iloc[0]
    asked = ["explain", *model, "--query", query]
    printed = saesplade(*asked, "--index", tmp_path / "index", "--lexicon", lexicon, *docs, "--docno", best["docno"])
    assert f"score     {best['score']:.3f}" in printed
    assert re.search(r"^ +\d\.\d{3} +\d+\.\d%  c\d+ +\S+ = \S+  \(.+\)$", printed, re.M)
    assert "document  a sparse text" in saesplade(*asked, "--document", "a sparse text")
    assert names(mistake(*asked, "--docno", "d1"), "--document", "--docno")
    assert names(mistake(*asked), "--document", "--docno")
    assert "'d99'" in mistake(*asked, *docs, "--docno", "d99")
    assert str(tmp_path / "none") in mistake(*asked, "--document", "a", "--lexicon", tmp_path / "none")
    assert "lexicon" in mistake(*asked, "--document", "a", "--lexicon", lexicon, "--k", 2)
    assert "--collection" in mistake("concepts", *model, "--lexicon", lexicon)
    assert names(mistake("concepts", *docs, "--lexicon", tmp_path / "new.parquet"), "--collection")


@pytest.mark.slow
def test_a_model_keeps_its_lexicon(folder: Path, splade_path: Path, tmp_path: Path) -> None:
    """A model keeps its lexicon in its folder, unless another file is named. So does a SPLADE checkpoint."""
    docs = ["--collection", folder / "docs"]
    model = Path(shutil.copytree(folder / "model", tmp_path / "model"))
    assert str(model / "concepts.parquet") in mistake("concepts", "sparse", "--model", model)
    fingerprint = SaeSplade.from_pretrained(model).fingerprint
    saesplade("concepts", "--model", model, *docs)
    assert str(model / "concepts.parquet") in mistake("concepts", "--model", model, *docs)
    assert SaeSplade.from_pretrained(model).fingerprint == fingerprint
    looked_up = saesplade("concepts", "sparse", "--model", model)
    assert saesplade("concepts", "sparse", "--lexicon", model / "concepts.parquet") in looked_up
    asked = ["explain", "--model", model, "--query", "sparse vectors", "--document", "sparse vectors"]
    named = saesplade(*asked)
    assert named == saesplade(*asked, "--lexicon", model / "concepts.parquet")
    assert len(named) > len(saesplade(*asked, "--k", 2))  # a lexicon of another model is ignored
    unknown = saesplade("concepts", "xyzzy", "--model", model).splitlines()
    assert "'xyzzy'" in unknown[-2]
    assert unknown[-1].startswith("none")
    assert "lexicon" in mistake("concepts", "sparse", "--model", model, "--k", 2)
    assert names(mistake("concepts", "sparse"), "--lexicon", "--model")

    splade = Path(shutil.copytree(splade_path, tmp_path / "splade"))
    saesplade("concepts", "--model", f"splade={splade}", *docs)
    assert "  df " in saesplade("concepts", "sparse", "--model", f"splade={splade}")


@pytest.mark.slow
def test_the_demo_uses_an_existing_collection_and_model(
    folder: Path, splade_path: Path, minilm_path: Path, tmp_path: Path
) -> None:
    """It compares four systems and explains the best hits. A second call prints the same."""
    out = tmp_path / "demo"
    shutil.copytree(folder / "docs", out / "collection")
    shutil.copytree(folder / "model", out / "model")
    command = ["demo", "--out", out, "--backbone", splade_path]
    first = saesplade(*command)
    assert [line.split()[0] for line in first.splitlines()[3:7]] == ["bm25", "dense", "splade", "saesplade"]
    assert first.count("query     ") == first.count("best hit  ") == 2
    run = pt.io.read_results(str(out / "runs" / "saesplade.trec.gz"))
    for (_, best), shown in zip(run.groupby("qid"), re.findall(r"best hit  (\S+):", first), strict=True):
        assert shown == best["docno"].iloc[0]
    concepts = re.findall(r"^ +(\d+\.\d\d)  c(\d+) +(.+)$", first, re.M)
    assert len(concepts) >= 2
    words = {word for _, _, listed in concepts for word in listed.split(", ")}
    texts = [document["text"] for document in open_collection(folder / "docs").get_corpus_iter()]
    assert words <= {*" ".join(texts).split(), "[CLS]", "[SEP]"}
    second = saesplade(*command)
    assert second[second.index("query  ") :] == first[first.index("query  ") :]
    with pytest.raises(SettingError) as error:  # MiniLM is the default
        list(demo(out))
    assert all(str(path) in str(error.value) for path in (out / "model", splade_path, minilm_path))


@pytest.mark.slow
def test_finetune_without_a_label(folder: Path, tmp_path: Path) -> None:
    """Pseudo-queries, a teacher's scores and a tuned model; then judged queries. Settings in a file and in options."""
    docs, model = folder / "docs", folder / "model"
    pseudo, mined, out = tmp_path / "pseudo.tsv", tmp_path / "mined.jsonl", tmp_path / "tuned"
    made = ["queries", "--collection", docs, "--count", 6, "--kind", "spans", "--out", pseudo]
    saesplade(*made)
    assert len(pseudo.read_text().splitlines()) == 6
    assert str(pseudo) in mistake(*made)
    options = ["--collection", docs, "--retriever", "bm25", "--teacher", f"bm25+saesplade={model}", "--nway", 8]
    saesplade("mine", *options, "--queries", pseudo, "--out", mined)
    header, *lines = map(json.loads, mined.read_text().splitlines())
    assert header["teacher"] == f"bm25+saesplade={model}"
    assert all(len(line) == 9 for line in lines)
    assert str(mined) in mistake("mine", *options, "--queries", pseudo, "--out", mined)

    settings = tmp_path / "settings.yaml"
    settings.write_text("finetune: {steps: 9, batch_queries: 2, nway: 4, log_steps: 1}", encoding="utf-8")
    common = ["finetune", "--model", model, "--config", settings, "--set", "steps=2"]
    given = ["--examples", mined, "--passages", docs, "--queries", pseudo]
    saesplade(*common, *given, "--set", "query_weights=idf", "--out", out)
    report = json.loads((out / "training.json").read_text())
    assert (report["settings"]["steps"], report["settings"]["query_weights"]) == (2, "idf")
    assert all(entry["kl"] > 0 for entry in report["log"] if "kl" in entry)
    index, run = tmp_path / "index", tmp_path / "run.trec"
    saesplade("index", "--collection", docs, "--model", out, "--out", index, "--engine", "exact")
    saesplade("search", "--index", index, "--model", out, "--topics", docs / "queries.tsv", "--out", run)
    assert run.stat().st_size

    shutil.copytree(docs, tmp_path / "judged")
    (tmp_path / "judged" / "train").mkdir()
    for name in ("queries.tsv", "qrels.txt"):
        shutil.copy(docs / name, tmp_path / "judged" / "train")
    labelled = ["--collection", tmp_path / "judged", "--set", "eval_steps=1", "--set", "eval_pool=9"]
    saesplade(*common, *labelled, "--validation-set", "train", "--out", tmp_path / "labelled")
    log = json.loads((tmp_path / "labelled" / "training.json").read_text())["log"]
    assert [entry["step"] for entry in log if "eval_RR@10" in entry] == [1, 2]
    assert (tmp_path / "labelled" / "validations.png").stat().st_size

    for arguments, facts in [
        ([], ["collection", "examples"]),
        (["--collection", docs], [str(docs / "train")]),
        ([*given[:4]], ["1", "queries"]),
        ([*given, "--set", "stpes=2"], ["--set", "stpes"]),
        ([*given, "--set", "steps"], ["--set", "steps"]),
        ([*given, "--on-error", "shout"], ["on_error", "'shout'"]),
        ([*given, "--validation-set", "dev"], ["--validation-set", "--collection"]),
    ]:
        assert names(mistake(*common, *arguments, "--out", tmp_path / "new"), *facts)
        assert not (tmp_path / "new").exists()
    assert str(out) in mistake(*common, *given, "--out", out)


COMMANDS = [
    "pretrain",
    "finetune",
    "mine",
    "queries",
    "encode",
    "index",
    "search",
    "export",
    "import",
    "inspect",
    "evaluate",
    "compare",
    "report",
    "reproduce",
    "demo",
    "explain",
    "concepts",
    "plot",
]
KINDS = [
    "tradeoff",
    "sweep",
    "differences",
    "precision-recall",
    "postings",
    "document-frequencies",
    "anisotropy",
    "training",
]


@pytest.mark.parametrize("command", [*COMMANDS[:-1], *(f"plot {kind}" for kind in KINDS)])
def test_help_has_an_example(command: str) -> None:
    """The help of each command has an example, with options that the command has."""
    text = " ".join(saesplade(*command.split(), "--help").split())
    example = re.search(rf"Example: (saesplade {command} .*?) Options:", text)
    assert example is not None
    for option in re.findall(r"--[a-z-]+", example[1]):
        assert f"{option} <" in text


def test_help_names_the_figures() -> None:
    """The help lists each figure with what it shows."""
    assert re.findall(r"^  ([a-z-]+)  +Draw ", saesplade("plot", "--help"), re.M) == KINDS


@pytest.mark.slow
def test_help_names_the_commands() -> None:
    """The help is quick: it loads neither torch nor PyTerrier."""
    code = (
        "import sys, pyterrier_saesplade.cli as cli\n"
        "try:\n    cli.main()\nfinally:\n    assert not {'torch', 'pyterrier'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert re.findall(r"^  ([a-z]+)  ", result.stdout, re.M) == COMMANDS


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ([], ["command"]),
        (["evalute"], ["'evalute'", "'evaluate'"]),
        (["encode", "--collection", "x"], ["--model"]),
        (["search", "--deepness", "3"], ["--deepness"]),
        (["pretrain", "--collection", "x", "--backbone", "x", "--out", "x", "--k", "two"], ["--k", "integer"]),
        (["evaluate", "--collection", "x", "--model", "nowhere", "--out", "x"], ["nowhere"]),
        (["pretrain", "--collection", "nowhere", "--backbone", "x", "--out", "x"], ["'nowhere'"]),
        (["pretrain", "--collection", "docs", "--backbone", "nowhere", "--out", "x"], ["nowhere"]),
        (["index", "--collection", "x", "--model", "nowhere", "--out", "x"], ["nowhere"]),
        (
            ["search", "--index", "x", "--model", "splade=nowhere", "--topics", "x.tsv", "--out", "x"],
            ["nowhere"],
        ),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], facts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line begins with the name of the program, and names the argument or the value that is wrong."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "docs.jsonl").write_text('{"docno": "d1", "text": "a text"}')
    monkeypatch.chdir(tmp_path)
    line = mistake(*arguments)
    assert line.startswith("saesplade: ")
    assert names(line, *facts)


@pytest.mark.slow
def test_an_error_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The shell sees exit code 2, one line on stderr and nothing on stdout. No file is written."""
    command = [sys.executable, "-m", "pyterrier_saesplade.cli", "search", "--index", "i", "--model", "nowhere"]
    command += ["--topics", "topics.tsv", "--out", "run.trec"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("saesplade: ")
    assert names(line, "nowhere")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_no_java_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the versions of Java that are needed."""

    def without_java(*arguments: object, **options: object) -> None:
        JavaHomeInit().pre_init(ModuleType("jnius_config"))

    monkeypatch.setattr("pyterrier_saesplade.engines.java._installed", lambda: iter(()))
    monkeypatch.setattr("pyterrier_saesplade.engines.java._packaged", lambda: iter(()))
    monkeypatch.setattr("pyterrier_saesplade.evaluation.evaluate", without_java)
    line = mistake("evaluate", "--collection", "x", "--model", folder / "model", "--out", "x")
    assert line.startswith("saesplade: ")
    assert names(line, "Terrier", "Java 11", "21", "none")


@pytest.mark.slow
def test_an_engine_that_fails_is_one_line(folder: Path, tmp_path: Path) -> None:
    index, run = tmp_path / "index", tmp_path / "run.trec"
    built = ["index", "--collection", folder / "docs", "--model", folder / "model", "--out", index]
    saesplade(*built, "--engine", "anserini")
    for file in index.rglob("segments_*"):
        file.unlink()
    topics = folder / "docs" / "queries.tsv"
    line = mistake("search", "--index", index, "--model", folder / "model", "--topics", topics, "--out", run)
    assert line.startswith("saesplade: ")
    assert names(line, "Anserini", "IndexNotFoundException")


@pytest.mark.slow
def test_a_pipeline_that_does_not_fit_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_pipeline.py").write_text(
        "import pyterrier as pt\n"
        "class Stage(pt.Transformer):\n"
        "    def transform(self, inp):\n"
        "        pt.validate.query_frame(inp, extra_columns=['query_vec'])\n"
        "pipeline = Stage()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mined = ["mine", "--collection", folder / "docs", "--queries", folder / "docs" / "queries.tsv"]
    given = ["--retriever", "own_pipeline:pipeline", "--teacher", "own_pipeline:pipeline"]
    arguments = [str(argument) for argument in (*mined, *given, "--out", tmp_path / "mined.jsonl")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]  # below the progress bar
    assert line.startswith("saesplade: ")
    assert "query_vec" in line


@pytest.mark.slow
def test_bugs_are_not_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not the user's keeps its traceback."""

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("pyterrier_saesplade.evaluation.evaluate", broken)
    arguments = ["evaluate", "--collection", "x", "--model", str(folder / "model"), "--out", "x"]
    with pytest.raises(RuntimeError, match="a bug"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "options", "facts"),
    [
        ("index", ["--model", "MODEL", "--collection", "docs", "--device", "nonsense"], ["'nonsense'", "cpu"]),
        ("index", ["--store", "x", "--k", "3"], ["--k"]),
        ("index", ["--model", "MODEL", "--collection", "docs", "--engine-option", "uri=["], ["--engine-option", "uri"]),
        ("encode", ["--model", "MODEL", "--queries", "docs/queries.tsv", "--half"], ["--half"]),
        ("encode", ["--model", "MODEL", "--collection", "docs", "--overwrite"], ["--overwrite"]),
        ("pretrain", ["--backbone", "MODEL", "--collection", "docs"], ["MODEL"]),
        ("pretrain", ["--backbone", "BACKBONE", "--collection", "docs", "--device", "x"], ["'x'", "cpu"]),
    ],
)
def test_invalid_options(
    command: str, options: list[str], facts: list[str], folder: Path, splade_path: Path, tmp_path: Path
) -> None:
    paths = {"MODEL": folder / "model", "BACKBONE": splade_path, "docs": folder / "docs"}
    paths["docs/queries.tsv"] = folder / "docs" / "queries.tsv"
    given = [paths.get(option, option) for option in options]
    line = mistake(command, *given, "--out", tmp_path / "out")
    assert names(line, *(str(paths.get(fact, fact)) for fact in facts))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_search_options(folder: Path, tmp_path: Path) -> None:
    built = ["--collection", folder / "docs", "--model", folder / "model", "--out", tmp_path / "index"]
    saesplade("index", *built, "--engine", "pisa")
    options = ["--index", tmp_path / "index", "--model", folder / "model", "--topics", folder / "docs" / "queries.tsv"]
    saesplade("search", *options, "--out", tmp_path / "run", "--engine-option", "query_algorithm=block_max_wand")
    assert (tmp_path / "run").stat().st_size
    options[-1:] = [folder / "docs" / "queries.tsv", "--overwrite"]
    line = mistake("search", *options, "--out", tmp_path / "run", "--engine-option", "query_algorithm=fastest")
    assert names(line, "query_algorithm", "'fastest'", "block_max_wand")
    line = mistake("search", *options, "--out", tmp_path / "run", "--engine-option", "alpha=1")
    assert names(line, "'pisa'", "'alpha'")
