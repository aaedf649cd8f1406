"""Training: pretrain, finetune, mine, queries."""

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
    out: Annotated[Path, typer.Option(help="Folder that the model will be.")],
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; the paper's is in examples/.")] = None,
    width: Annotated[int | None, typer.Option(help="Number of latents; 16384 unless the file says otherwise.")] = None,
    k: Annotated[int | None, typer.Option(help="Latents kept per token; 8 likewise.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; 250 likewise.")] = None,
    doc_max_length: Annotated[int | None, typer.Option(help="Word pieces kept per document; 128 likewise.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random; 42 likewise.")] = None,
    set: Settings = None,
    queries: Annotated[Path | None, typer.Option(help="File of qid<TAB>query lines, whose texts are mixed in.")] = None,
    device: Device = None,
) -> None:
    """Learn a vocabulary of concepts from a collection, without labels.

    Example: saesplade pretrain --collection docstrings --backbone distilbert-base-uncased --out model
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
    out: Annotated[Path, typer.Option(help="Folder that the new model will be.")],
    collection: Annotated[str | None, COLLECTION] = None,
    query_set: Annotated[
        str,
        typer.Option(help="Query set of the collection: its judgements are learned from, or --examples are of it."),
    ] = "train",
    examples: Annotated[
        list[Path] | None,
        typer.Option(help="Distillation file (.json, .jsonl), or triples of identifiers (.tsv); repeat for several."),
    ] = None,
    passages: Annotated[
        list[str] | None,
        typer.Option(help="File of pid<TAB>text lines (.tsv), or a collection; one for each --examples."),
    ] = None,
    queries: Annotated[
        list[str] | None, typer.Option(help="File of qid<TAB>query lines (.tsv), or a collection; likewise.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set of texts (query, positive, negative, score): folder, file or hub name.")
    ] = None,
    validation_set: Annotated[
        str | None, typer.Option(help="Query set of the collection to validate with; else some queries are held out.")
    ] = None,
    on_error: Annotated[str, typer.Option(help="What a broken line does: report or raise.")] = "report",
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; the paper's are in examples/.")] = None,
    set: Settings = None,
    device: Device = None,
) -> None:
    """Train a model to rank, on judged queries, on a teacher's scores or on triples.

    Example: saesplade finetune --model model --collection my-collection --out tuned
    """
    from pyterrier_saesplade.training import FinetuneConfig, read_labels, read_training_data
    from pyterrier_saesplade.training import finetune as train

    settings = FinetuneConfig.from_yaml(config) if config else FinetuneConfig()
    settings = settings.changed(assigned("--set", set), where="--set")
    if validation_set is not None and collection is None:
        raise typer.BadParameter("--validation-set is a query set of --collection: give that too")
    data = read_training_data(
        # Beside a data set of texts the collection has the queries to validate with, and no others.
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
    retriever: Annotated[str, typer.Option(help="System that finds candidates: see below.")],
    teacher: Annotated[str, typer.Option(help="System that scores them.")],
    out: Annotated[Path, typer.Option(help="Distillation file to write (.jsonl).")],
    queries: Annotated[
        Path | None, typer.Option(help="File of qid<TAB>query lines without judgements, in place of the collection's.")
    ] = None,
    query_set: Annotated[str, typer.Option(help="Query set of the collection, with its judgements.")] = "train",
    nway: Annotated[int, typer.Option(help="Passages of a query, the positive included.")] = 32,
    indexes: Annotated[
        Path | None, typer.Option(help="Folder that indexes are kept in; OUT.indexes unless given.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write training data: candidates that one system finds, with the scores of another. Resumes if it was killed.

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
            help="titles, sentences, keywords or spans; repeat for several.",
            show_default="titles, keywords",
        ),
    ],
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 42,
    overwrite: Overwrite = False,
) -> None:
    """Make queries from a collection's documents, for `saesplade mine`, where there are none.

    Example: saesplade queries --collection my-collection --out pseudo.tsv
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.training import write_pseudo_queries

    documents = open_collection(collection).get_corpus_iter()
    write_pseudo_queries(documents, out, count, kinds=kind, seed=seed, overwrite=overwrite)  # type: ignore[arg-type]
