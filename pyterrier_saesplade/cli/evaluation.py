"""Evaluation: evaluate, compare, report, reproduce, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pyterrier_saesplade.cli.options import (
    COLLECTION,
    Device,
    DocMaxLength,
    K,
    Overwrite,
    Precision,
    open_model,
    refuse,
)
from pyterrier_saesplade.cli.systems import SystemsCommand
from pyterrier_saesplade.metrics import DEFAULT_MEASURES

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=SystemsCommand)
def evaluate(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of indexes and results.")],
    baseline: Annotated[
        list[str],
        typer.Option(
            default_factory=lambda: ["bm25", "dense"],
            help="System to compare with: see below; repeat for several.",
            show_default="bm25, dense",
        ),
    ],
    measure: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            help="Any ir_measures name, such as AP(rel=2); repeat for several.",
            show_default=f"{', '.join(DEFAULT_MEASURES)}, or the suite's",
        ),
    ],
    collection: Annotated[str | None, COLLECTION] = None,
    query_set: Annotated[str | None, typer.Option(help="Query set of the collection, if not the main one.")] = None,
    ignore_identical_ids: Annotated[
        bool,
        typer.Option("--ignore-identical-ids", help="A query does not find the document that has its qid for docno."),
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(
            help="Of the collection, two letters, such as de; English unless given, for systems that match words."
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="beir, beir/scifact, mmarco-es, ...; a folder of collections, or a YAML file, of your own."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Set of the suite to evaluate, if not all; repeat for several.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="As for search; {set} in it is replaced by the name of a suite's set."),
    ] = None,
    pretrain: Annotated[
        str | None, typer.Option(help="Backbone: in place of a model, pre-train one for each set of a suite.")
    ] = None,
    indexes: Annotated[
        Path | None, typer.Option(help="Folder that indexes are kept in; OUT/indexes unless given.")
    ] = None,
    k: K = None,
    doc_max_length: DocMaxLength = None,
    query_max_length: Annotated[
        int | None, typer.Option(help="Word pieces kept per query, in place of the model's or the suite's.")
    ] = None,
    device: Device = None,
    precision: Precision = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Compare a model with baselines, and write a table, TREC runs and a figure; for a suite, of each of its sets.

    Example: saesplade evaluate --collection docstrings --model model --baseline bm25 --out comparison
    """
    from pyterrier_saesplade.evaluation import evaluate as evaluate_collection

    if (collection is None) == (suite is None):
        raise typer.BadParameter("give either --collection or --suite")
    settings: dict[str, Any] = {"k": k, "doc_max_length": doc_max_length, "query_max_length": query_max_length}
    settings |= {"device": device, "precision": precision}
    common: dict[str, Any] = {"baselines": baseline, "indexes": indexes, "overwrite": overwrite}
    common["command"] = ctx.obj
    of_collection: dict[str, Any] = {
        "query_set": query_set,
        "ignore_identical_ids": ignore_identical_ids,
        "language": language,
    }
    if suite is not None:
        from pyterrier_saesplade.evaluation import evaluate_suite

        given = {"--query-set": query_set, "--ignore-identical-ids": ignore_identical_ids, "--language": language}
        refuse("for a collection: a suite says it of its sets", **given)
        print(
            evaluate_suite(
                suite, model, out, sets=only or (), pretrain=pretrain, measures=measure or None, **common, **settings
            )
        )
        return
    refuse("for a suite", **{"--only": only, "--pretrain": pretrain})
    if model is None:
        raise typer.BadParameter("give --model")
    assert collection is not None
    opened = open_model(model, **settings)
    measures = measure or DEFAULT_MEASURES
    print(evaluate_collection(collection, opened, out, measures=measures, **of_collection, **common))


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="Folder that evaluate wrote.", show_default=False)],
    baseline: Annotated[str | None, typer.Option(help="System to compare with; the first unless given.")] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Measure, if not all; repeat for several.")] = None,
    test: Annotated[str, typer.Option(help="t, wilcoxon or randomisation.")] = "t",
    correction: Annotated[str, typer.Option(help="holm or another of statsmodels; none for none.")] = "holm",
    collection: Annotated[
        str | None, typer.Option(help="Collection whose queries are shown: means by length, wins and losses.")
    ] = None,
    query_set: Annotated[str | None, typer.Option(help="Its query set, if not the main one.")] = None,
    queries: Annotated[
        bool, typer.Option("--queries", help="Show those of the collection evaluated; of a suite, of each set.")
    ] = False,
) -> None:
    """Test differences of systems for significance, with their sizes, and count queries won and lost.

    Example: saesplade compare comparison --baseline bm25 --collection docstrings
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.evaluation import comparisons

    if collection is None:
        refuse("for --collection", **{"--query-set": query_set})
    elif queries:
        raise typer.BadParameter("give either --collection or --queries")
    topics = None if collection is None else open_collection(collection).topics(query_set)
    shown: dict[str, Any] = {"measures": measure or (), "topics": topics, "own_topics": queries}
    for text in comparisons(folder, baseline, test=test, correction=correction, **shown):
        print(text, end="\n\n", flush=True)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders that evaluate wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="HTML page to write.")],
    figure: Annotated[list[Path] | None, typer.Option(help="PNG or SVG to add; repeat for several.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a report of comparisons: one HTML page with tables to sort and figures, which needs no network.

    Example: saesplade report comparison --out report.html
    """
    from pyterrier_saesplade.evaluation import write_report

    write_report(folders, out, figures=figure or (), overwrite=overwrite)


@app.command()
def reproduce(
    table: Annotated[
        str | None, typer.Argument(help="Name of a table; without one, their names are printed.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all that is made; tables share it.")] = Path("paper"),
    data: Annotated[Path, typer.Option(help="Folder of the files that have to be brought.")] = Path("data"),
    configs: Annotated[Path, typer.Option(help="Folder of the trainings' settings.")] = Path("examples/paper"),
    gpus: Annotated[int, typer.Option(help="GPUs that a training runs on.", min=1)] = 1,
    tables: Annotated[
        Path | None, typer.Option(help="YAML file of tables of your own, in place of the paper's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all tables as a page.")] = False,
) -> None:
    """Make a table of the paper: train, evaluate and draw what is missing of it. Goes on if it was stopped.

    Example: saesplade reproduce k --data my-data --out paper
    """
    from pyterrier_saesplade.paper import Folders, open_tables
    from pyterrier_saesplade.paper import reproduce as make_table

    opened = open_tables(tables)
    if markdown:
        print(opened.markdown(), end="")
    elif table is None:
        print(opened.listing())
    elif dry_run:
        print(opened.describe(table, Folders(out, data, configs)))
    else:
        print(make_table(table, out, data=data, configs=configs, gpus=gpus, tables=opened))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder that everything is kept in.")] = Path("demo"),
    backbone: Annotated[str | None, typer.Option(help="Encoder in place of MiniLM-L6, folder or hub name.")] = None,
    splade: Annotated[str | None, typer.Option(help="SPLADE checkpoint to compare with, folder or hub name.")] = None,
) -> None:
    """Pre-train on the docstrings of the installed libraries, compare, and explain three queries: some minutes.

    Example: saesplade demo --out demo
    """
    from pyterrier_saesplade.demo import demo as run_demo

    for part in run_demo(out, backbone=backbone, splade=splade):
        print(part, end="\n\n", flush=True)
