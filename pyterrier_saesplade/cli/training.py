"""The training commands: pretrain, finetune, mine, queries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyterrier_saesplade.cli.options import COLLECTION, Collection, Device, Model, Overwrite, Settings, assigned
from pyterrier_saesplade.cli.systems import SystemsCommand

app = typer.Typer(rich_markup_mode=None)


@app.command()
def pretrain(
    collection: Collection,
    backbone: Annotated[str, typer.Option(help="Folder or hub name of any Hugging Face encoder.")],
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings. The paper's settings are in examples/paper/.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Number of latents. By default, the value in --config, or 16384.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="Number of latents kept per token. By default, the value in --config, or 8.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of optimiser steps. By default, the value in --config, or 250.")
    ] = None,
    doc_max_length: Annotated[
        int | None,
        typer.Option(help="Number of word pieces kept per document. By default, the value in --config, or 128."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of all random choices. By default, the value in --config, or 42.")
    ] = None,
    set: Settings = None,
    queries: Annotated[
        Path | None, typer.Option(help="File of qid<TAB>query lines, to train on queries as well.")
    ] = None,
    device: Device = None,
) -> None:
    """Learn concepts from a collection of documents, without labels.

    Example: saesplade pretrain --backbone distilbert-base-uncased --collection docstrings --out model
    """
    from pyterrier_saesplade.collections import open_collection, read_topics
    from pyterrier_saesplade.saesplade import SaeSplade
    from pyterrier_saesplade.training import PretrainConfig

    settings = PretrainConfig.from_yaml(config) if config else PretrainConfig()
    settings = settings.changed(assigned("--set", set), where="--set")
    documents = open_collection(collection).get_corpus_iter()
    SaeSplade.pretrain(
        backbone,
        documents,
        out=out,
        width=width,
        k=k,
        doc_max_length=doc_max_length,
        steps=steps,
        seed=seed,
        queries=[] if queries is None else read_topics(queries)["query"].tolist(),
        config=settings,
        device=device,
        verbose=True,
    )


@app.command()
def finetune(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder to write the new model to.")],
    collection: Annotated[str | None, COLLECTION] = None,
    query_set: Annotated[
        str,
        typer.Option(help="Query set of the collection: the source of the qrels, or of the queries of --examples."),
    ] = "train",
    examples: Annotated[
        list[Path] | None,
        typer.Option(help="Distillation file (.json, .jsonl), or triples of identifiers (.tsv). Can be repeated."),
    ] = None,
    passages: Annotated[
        list[str] | None,
        typer.Option(help="For each --examples, its passages: a file of pid<TAB>text lines (.tsv), or a collection."),
    ] = None,
    queries: Annotated[
        list[str] | None,
        typer.Option(help="For each --examples, its queries: a file of qid<TAB>query lines (.tsv), or a collection."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset of texts (query, positive, negative, score): a folder, a file or a hub name."),
    ] = None,
    validation_set: Annotated[
        str | None,
        typer.Option(help="Query set of the collection for validation. By default, some queries are held out."),
    ] = None,
    on_error: Annotated[
        str, typer.Option(help="What a malformed line causes: report (it is skipped and counted) or raise (an error).")
    ] = "report",
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings. The paper's settings are in examples/paper/.")
    ] = None,
    set: Settings = None,
    device: Device = None,
) -> None:
    """Train a model for ranking on qrels, teacher scores or triples.

    Example: saesplade finetune --model model --collection my-collection --out tuned
    """
    from pyterrier_saesplade.training import FinetuneConfig, read_labels, read_training_data
    from pyterrier_saesplade.training import finetune as train

    settings = FinetuneConfig.from_yaml(config) if config else FinetuneConfig()
    settings = settings.changed(assigned("--set", set), where="--set")
    if validation_set is not None and collection is None:
        raise typer.BadParameter("--validation-set is a query set of --collection: give --collection too")
    data = read_training_data(
        # With a dataset of texts, the collection only supplies the validation queries.
        None if dataset is not None and validation_set is not None else collection,
        query_set=query_set,
        examples=examples or (),
        passages=passages or (),
        queries=queries or (),
        dataset=dataset,
        on_error=on_error,  # type: ignore[arg-type]  # checked where it is used
    )
    validation = None if validation_set is None else read_labels(collection or "", validation_set)
    train(model, data, out, settings, validation=validation, device=device, verbose=True)


@app.command(cls=SystemsCommand)
def mine(
    collection: Collection,
    retriever: Annotated[str, typer.Option(help="System that finds candidates, see below.")],
    teacher: Annotated[str, typer.Option(help="System that scores the candidates, see below.")],
    out: Annotated[Path, typer.Option(help="Distillation file to write (.jsonl).")],
    queries: Annotated[
        Path | None, typer.Option(help="File of qid<TAB>query lines without qrels, instead of a query set.")
    ] = None,
    query_set: Annotated[str, typer.Option(help="Query set of the collection, with qrels.")] = "train",
    nway: Annotated[int, typer.Option(help="Maximum number of passages per query, the positive included.")] = 32,
    indexes: Annotated[Path | None, typer.Option(help="Folder to keep indexes in. By default, OUT.indexes.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Mine training data: one system retrieves, another one scores. Resumes if interrupted.

    Example: saesplade mine --collection my-collection --retriever bm25 --teacher cross-encoder=NAME --out mined.jsonl
    """
    from pyterrier_saesplade.evaluation import mine_collection

    mine_collection(
        collection,
        retriever,
        teacher,
        out,
        queries=queries,
        query_set=query_set,
        nway=nway,
        indexes=indexes,
        overwrite=overwrite,
        verbose=True,
    )


@app.command()
def queries(
    collection: Collection,
    out: Annotated[Path, typer.Option(help="File of qid<TAB>query lines to write.")],
    kind: Annotated[
        list[str],
        typer.Option(
            default_factory=lambda: ["titles", "keywords"],
            help="What queries are made from: titles, sentences, keywords or spans. Can be repeated.",
            show_default="titles, keywords",
        ),
    ],
    count: Annotated[int, typer.Option(help="Number of queries.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 42,
    overwrite: Overwrite = False,
) -> None:
    """Make queries from the documents of a collection. `saesplade mine` takes them with --queries.

    Example: saesplade queries --collection my-collection --out pseudo.tsv
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.training import write_pseudo_queries

    documents = open_collection(collection).get_corpus_iter()
    write_pseudo_queries(documents, out, count, kinds=kind, seed=seed, overwrite=overwrite)  # type: ignore[arg-type]
