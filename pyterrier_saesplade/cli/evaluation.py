"""The evaluation commands: evaluate, compare, report, reproduce, demo."""

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
    out: Annotated[Path, typer.Option(help="Folder to write results and indexes to.")],
    baseline: Annotated[
        list[str],
        typer.Option(
            default_factory=lambda: ["bm25", "dense"],
            help="System to compare with, see below. Can be repeated.",
            show_default="bm25, dense",
        ),
    ],
    measure: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            help="Measure by its name in ir_measures, such as AP(rel=2). Can be repeated.",
            show_default=f"{', '.join(DEFAULT_MEASURES)}, or the suite's",
        ),
    ],
    collection: Annotated[str | None, COLLECTION] = None,
    query_set: Annotated[
        str | None, typer.Option(help="Query set of the collection. By default, its main one.")
    ] = None,
    ignore_identical_ids: Annotated[
        bool,
        typer.Option("--ignore-identical-ids", help="Drop a document from the results of the query with the same id."),
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language of the collection in two letters, such as de, for systems that match words. By default, the "
            "one that ir_datasets records, or English."
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite of collections, such as beir, or one of its sets, such as beir/scifact or mmarco-es; a folder "
            "of collections; or a YAML file."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Set of the suite to evaluate. By default, all. Can be repeated."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name of a SAE-SPLADE model; or splade=NAME, a SPLADE checkpoint. With --suite, {set} "
            "is replaced by the name of each set."
        ),
    ] = None,
    pretrain: Annotated[
        str | None,
        typer.Option(help="Backbone from which to pre-train a model for each set of the suite, instead of --model."),
    ] = None,
    indexes: Annotated[Path | None, typer.Option(help="Folder to keep indexes in. By default, OUT/indexes.")] = None,
    k: K = None,
    doc_max_length: DocMaxLength = None,
    query_max_length: Annotated[
        int | None, typer.Option(help="Number of word pieces kept per query. By default, the model's or the suite's.")
    ] = None,
    device: Device = None,
    precision: Precision = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Compare a model with baselines on a collection or a suite. Writes tables, TREC runs and figures.

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
        refuse("--collection: a suite has this setting for each of its sets", **given)
        print(
            evaluate_suite(
                suite, model, out, sets=only or (), pretrain=pretrain, measures=measure or None, **common, **settings
            )
        )
        return
    refuse("--suite", **{"--only": only, "--pretrain": pretrain})
    if model is None:
        raise typer.BadParameter("give --model")
    assert collection is not None
    opened = open_model(model, **settings)
    measures = measure or DEFAULT_MEASURES
    print(evaluate_collection(collection, opened, out, measures=measures, **of_collection, **common))


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="Folder written by saesplade evaluate.", show_default=False)],
    baseline: Annotated[
        str | None, typer.Option(help="System to compare the others with. By default, the first.")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="Measure to compare. By default, all. Can be repeated.")
    ] = None,
    test: Annotated[str, typer.Option(help="Significance test: t, wilcoxon or randomisation.")] = "t",
    correction: Annotated[
        str, typer.Option(help="Correction for multiple tests: holm or another method of statsmodels, or none.")
    ] = "holm",
    collection: Annotated[
        str | None, typer.Option(help="Show what --queries shows, with the queries of this collection.")
    ] = None,
    query_set: Annotated[str | None, typer.Option(help="Query set of --collection. By default, its main one.")] = None,
    queries: Annotated[
        bool,
        typer.Option(
            "--queries",
            help="Also show means by query length and the queries won and lost by most, for each evaluated collection.",
        ),
    ] = False,
) -> None:
    """Test differences between systems for significance. Also counts the queries won and lost.

    Example: saesplade compare comparison --baseline bm25 --collection docstrings
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.evaluation import comparisons

    if collection is None:
        refuse("--collection", **{"--query-set": query_set})
    elif queries:
        raise typer.BadParameter("give either --collection or --queries")
    topics = None if collection is None else open_collection(collection).topics(query_set)
    shown: dict[str, Any] = {"measures": measure or (), "topics": topics, "own_topics": queries}
    for text in comparisons(folder, baseline, test=test, correction=correction, **shown):
        print(text, end="\n\n", flush=True)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders written by saesplade evaluate.", show_default=False)],
    out: Annotated[Path, typer.Option(help="HTML page to write.")],
    figure: Annotated[list[Path] | None, typer.Option(help="Additional figure, PNG or SVG. Can be repeated.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write an HTML report of comparisons. It is one self-contained page with sortable tables and figures.

    Example: saesplade report comparison --out report.html
    """
    from pyterrier_saesplade.evaluation import write_report

    write_report(folders, out, figures=figure or (), overwrite=overwrite)


@app.command()
def reproduce(
    table: Annotated[
        str | None, typer.Argument(help="Name of a table. Without one, the names are listed.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write everything to; all tables share it.")] = Path("paper"),
    data: Annotated[Path, typer.Option(help="Folder with the data that you must provide.")] = Path("data"),
    configs: Annotated[Path, typer.Option(help="Folder with the training settings.")] = Path("examples/paper"),
    gpus: Annotated[int, typer.Option(help="Number of GPUs to train on.", min=1)] = 1,
    tables: Annotated[Path | None, typer.Option(help="YAML file with your own tables, instead of the paper's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Only print all tables, as a page in Markdown.")] = False,
) -> None:
    """Reproduce a table of the paper. Runs all training, evaluation and drawing that is not done yet.

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
    out: Annotated[Path, typer.Option(help="Folder to keep everything in.")] = Path("demo"),
    backbone: Annotated[
        str | None, typer.Option(help="Folder or hub name of the encoder. By default, MiniLM-L6.")
    ] = None,
    splade: Annotated[
        str | None, typer.Option(help="Folder or hub name of the SPLADE checkpoint to compare with.")
    ] = None,
) -> None:
    """Pre-train a model on docstrings and compare it. This takes a few minutes.

    The docstrings are those of the installed Python libraries.

    Example: saesplade demo --out demo
    """
    from pyterrier_saesplade.demo import demo as run_demo

    for part in run_demo(out, backbone=backbone, splade=splade):
        print(part, end="\n\n", flush=True)
