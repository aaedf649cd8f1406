"""The commands that draw figures: ``saesplade plot``."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from pyterrier_saesplade.cli.options import NAMED, Collection, Device, Figure, Overwrite, named

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _plots() -> None:
    """Draw figures, at the width of a column in a paper."""


@app.command()
def tradeoff(
    folders: Annotated[
        list[str],
        typer.Argument(
            help=f"Folders written by saesplade evaluate. {NAMED}; folders with the same name are joined by a line."
        ),
    ],
    out: Figure,
    measure: Annotated[
        str | None,
        typer.Option(help="Measure on the vertical axis. By default, RR@10, or the first measure if it is missing."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw effectiveness against QD-FLOPs. For RR@10, lines of equal ΔE are added.

    Example: saesplade plot tradeoff comparison --out tradeoff.pdf
    """
    from pyterrier_saesplade.evaluation import joined, read_summary
    from pyterrier_saesplade.figures import plot_tradeoff, require_figure

    require_figure(out, overwrite=overwrite)
    # For a suite, only the means: points for its sets would look like a sweep.
    results = [(name, read_summary(folder)) for name, folder in map(named, folders)]
    first = results[0][1].measures
    measure = measure or ("RR@10" if "RR@10" in first else first[0])
    plot_tradeoff(joined(results, measure), measure, out)


@app.command()
def sweep(
    table: Annotated[Path, typer.Argument(help="CSV file with the columns name, k, qd_flops and the measure.")],
    out: Figure,
    measure: Annotated[str, typer.Option(help="Column to draw on the vertical axis.")] = "nDCG@10",
    weights: Annotated[
        bool, typer.Option("--weights", help="Draw a line for each k; its rows must be ordered by the FLOPS weight.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw a sweep over k, or over k and the FLOPS weight.

    Example: saesplade plot sweep k.csv --out k.pdf
    """
    from pyterrier_saesplade.evaluation import read_sweep
    from pyterrier_saesplade.figures import plot_k_lambda, plot_k_sweep, require_figure

    require_figure(out, overwrite=overwrite)
    (plot_k_lambda if weights else plot_k_sweep)(read_sweep(table, measure), measure, out)


@app.command()
def differences(
    folder: Annotated[Path, typer.Argument(help="Folder written by saesplade evaluate.")],
    out: Figure,
    baseline: Annotated[str, typer.Option(help="System to compare with.")] = "bm25",
    system: Annotated[str, typer.Option(help="System to compare.")] = "saesplade",
    measure: Annotated[str, typer.Option(help="Measure to compare.")] = "nDCG@10",
    overwrite: Overwrite = False,
) -> None:
    """Draw each query's gain or loss. The differences from a baseline are in descending order.

    Example: saesplade plot differences comparison --baseline bm25 --out differences.pdf
    """
    from pyterrier_saesplade.evaluation import differences as differences_of
    from pyterrier_saesplade.evaluation import read_comparison
    from pyterrier_saesplade.figures import plot_differences, require_figure

    require_figure(out, overwrite=overwrite)
    gained = differences_of(read_comparison(folder), measure, system, baseline)
    plot_differences(gained, out, measure=measure, system=system, baseline=baseline)


@app.command("precision-recall")
def precision_recall(
    folder: Annotated[Path, typer.Argument(help="Folder written by saesplade evaluate, with its runs.")],
    collection: Collection,
    out: Figure,
    query_set: Annotated[
        str | None, typer.Option(help="Query set that was evaluated. By default, the main one of the collection.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw precision against recall, a curve for each run. Precision is interpolated at eleven levels of recall.

    Example: saesplade plot precision-recall comparison --collection my-collection --out curves.pdf
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.evaluation import precision_at_recall, read_comparison, read_runs
    from pyterrier_saesplade.figures import plot_precision_recall, require_figure

    require_figure(out, overwrite=overwrite)
    results = read_comparison(folder)
    qrels = results.matching_qrels(open_collection(collection).qrels(query_set))
    curves = {name: precision_at_recall(run, qrels) for name, run in read_runs(results)}
    plot_precision_recall(curves, out, title=results.title)


@app.command()
def postings(
    indexes: Annotated[list[str], typer.Argument(help=f"Folders of indexes. {NAMED}.")],
    out: Figure,
    overwrite: Overwrite = False,
) -> None:
    """Draw the lengths of posting lists. They are in descending order.

    Example: saesplade plot postings concepts.index splade=words.index --out postings.pdf
    """
    from pyterrier_saesplade.engines import open_index
    from pyterrier_saesplade.figures import plot_postings, require_figure

    require_figure(out, overwrite=overwrite)
    given = [named(index) for index in indexes]
    plot_postings({name or path.name: open_index(path).statistics for name, path in given}, out)


@app.command("document-frequencies")
def document_frequencies(
    index: Annotated[Path, typer.Argument(help="Folder of an index.")],
    out: Figure,
    overwrite: Overwrite = False,
) -> None:
    """Draw the document frequencies of latents. The share of latents that occur in no document is added.

    Example: saesplade plot document-frequencies concepts.index --out frequencies.pdf
    """
    from pyterrier_saesplade.engines import open_index
    from pyterrier_saesplade.figures import plot_document_frequencies, require_figure

    require_figure(out, overwrite=overwrite)
    plot_document_frequencies(open_index(index).statistics, out)


@app.command()
def anisotropy(
    collection: Collection,
    backbone: Annotated[list[str], typer.Option(help=f"Folder or hub name of an encoder. {NAMED}. Can be repeated.")],
    out: Figure,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw how similar the hidden states of tokens are. It is the mean cosine of two random tokens, layer by layer.

    Example: saesplade plot anisotropy --backbone distilbert-base-uncased --collection docstrings --out anisotropy.pdf
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.concepts import MAX_TEXTS
    from pyterrier_saesplade.concepts import anisotropy as anisotropy_of
    from pyterrier_saesplade.figures import plot_anisotropy, require_figure

    require_figure(out, overwrite=overwrite)
    opened = open_collection(collection)
    given = [named(one) for one in backbone]
    texts = [document["text"] for document in islice(opened.get_corpus_iter(), MAX_TEXTS)]
    plot_anisotropy({name or path.name: anisotropy_of(str(path), texts, device=device) for name, path in given}, out)


@app.command()
def training(
    models: Annotated[list[str], typer.Argument(help=f"Folders of models. {NAMED}.")],
    out: Figure,
    overwrite: Overwrite = False,
) -> None:
    """Draw the learning curves of training runs.

    Example: saesplade plot training my-model --out curves.pdf
    """
    from pyterrier_saesplade.evaluation import read_log
    from pyterrier_saesplade.figures import plot_training, require_figure

    require_figure(out, overwrite=overwrite)
    given = [named(model) for model in models]
    plot_training({name or path.name: read_log(path) for name, path in given}, out)
