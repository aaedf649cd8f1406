"""The commands for indexes and stores: encode, index, search, export, import, inspect."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from pyterrier_saesplade.cli.options import (
    COLLECTION,
    MODEL,
    Device,
    DocMaxLength,
    K,
    Model,
    Overwrite,
    Precision,
    assigned,
    open_model,
    refuse,
)

app = typer.Typer(rich_markup_mode=None)


@app.command()
def encode(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder to write the store to; for queries, a file ending in .parquet.")],
    collection: Annotated[str | None, COLLECTION] = None,
    queries: Annotated[Path | None, typer.Option(help="File of qid<TAB>query lines, instead of a collection.")] = None,
    shard: Annotated[
        str, typer.Option(help="i/n: encode the i-th of n parts of the collection, counted from 0.")
    ] = "0/1",
    workers: Annotated[int, typer.Option(help="Number of processes. With several GPUs, use one for each.")] = 1,
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits.")] = False,
    k: K = None,
    doc_max_length: DocMaxLength = None,
    device: Device = None,
    precision: Precision = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file of queries.")] = False,
) -> None:
    """Encode a collection once for all engines, or a file of queries. Resumes if interrupted.

    Example: saesplade encode --model model --collection docstrings --out vectors
    """
    from pyterrier_saesplade.collections import open_collection, read_topics
    from pyterrier_saesplade.store import encode_corpus, encode_topics

    if (collection is None) == (queries is None):
        raise typer.BadParameter("give either --collection or --queries")
    if queries is None:
        refuse("--queries", **{"--overwrite": overwrite})
    else:
        refuse("--collection", **{"--shard": shard != "0/1", "--workers": workers != 1, "--half": half})
    share = re.fullmatch(r"(\d+)/(\d+)", shard)
    if share is None:
        raise typer.BadParameter(f"--shard must be i/n, such as 0/4, not {shard}")
    opened = open_model(model, k=k, doc_max_length=doc_max_length, device=device, precision=precision)
    if queries is not None:
        encode_topics(opened, read_topics(queries), out, overwrite=overwrite)
        return
    numbers = int(share[1]), int(share[2])
    assert collection is not None
    documents = open_collection(collection)
    store = encode_corpus(opened, documents, out, shard=numbers, workers=workers, half=half, verbose=True)
    if store is None:
        logging.getLogger(__name__).info("shard %s is done; the store is complete once all shards are", shard)


@app.command()
def index(
    out: Annotated[Path, typer.Option(help="Folder to write the index to.")],
    collection: Annotated[str | None, COLLECTION] = None,
    model: Annotated[str | None, MODEL] = None,
    store: Annotated[Path | None, typer.Option(help="Store of vectors, instead of a collection and a model.")] = None,
    engine: Annotated[
        str, typer.Option(help="Search engine: terrier, anserini, pisa, bmp, seismic, milvus or exact.")
    ] = "terrier",
    engine_option: Annotated[
        list[str] | None, typer.Option(help="Build option NAME=VALUE of the engine. Can be repeated.")
    ] = None,
    prune_k: Annotated[
        int | None, typer.Option(help="Keep only this many of a document's weights, the largest.", min=1)
    ] = None,
    prune_ratio: Annotated[
        float | None, typer.Option(help="Keep weights of at least this share of the document's largest weight.")
    ] = None,
    prune_mass: Annotated[
        float | None,
        typer.Option(help="Keep the largest weights that make up this share of the sum of a document's weights."),
    ] = None,
    prune_threshold: Annotated[float | None, typer.Option(help="Keep weights of at least this value.")] = None,
    max_df: Annotated[
        float | None, typer.Option(help="Drop latents that occur in more than this share of the documents.")
    ] = None,
    k: K = None,
    doc_max_length: DocMaxLength = None,
    device: Device = None,
    precision: Precision = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Index the documents of a collection or of a store.

    Example: saesplade index --collection docstrings --model model --out concepts.index
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.engines import ConceptIndexer
    from pyterrier_saesplade.files import require_new
    from pyterrier_saesplade.impacts import Pruning
    from pyterrier_saesplade.store import StoredVectors

    require_new(out, overwrite=overwrite)
    rules = (prune_k, prune_ratio, prune_mass, prune_threshold)
    pruning = None if rules == (None,) * 4 else Pruning(*rules)
    options: dict[str, Any] = {"pruning": pruning, "max_df": max_df, "overwrite": overwrite, "verbose": True}
    options["engine_options"] = assigned("--engine-option", engine_option)
    if store is not None:
        given = {"--collection": collection, "--model": model, "--k": k, "--doc-max-length": doc_max_length}
        refuse("texts, not to --store", **given, **{"--device": device})
        vectors = StoredVectors(store)
        ConceptIndexer(vectors, out, engine, **options).index(vectors)
        return
    if collection is None or model is None:
        raise typer.BadParameter("give --collection and --model, or --store")
    opened = open_model(model, k=k, doc_max_length=doc_max_length, device=device, precision=precision)
    opened.indexer(out, engine, **options).index(open_collection(collection).get_corpus_iter())


@app.command()
def search(
    index: Annotated[Path, typer.Option(help="Folder of an index.")],
    topics: Annotated[
        Path, typer.Option(help="File of qid<TAB>query lines, or of encoded queries (.parquet, .jsonl[.gz]).")
    ],
    out: Annotated[Path, typer.Option(help="TREC run file to write; compressed if it ends in .gz.")],
    model: Annotated[str | None, MODEL] = None,
    num_results: Annotated[int, typer.Option(help="Maximum number of documents per query.")] = 1000,
    engine_option: Annotated[
        list[str] | None, typer.Option(help="Search option NAME=VALUE of the engine. Can be repeated.")
    ] = None,
    tag: Annotated[str, typer.Option(help="Name of the run.")] = "saesplade",
    k: K = None,
    doc_max_length: DocMaxLength = None,
    device: Device = None,
    precision: Precision = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Search an index and write a TREC run. Use the model, --k and --doc-max-length that built the index.

    Example: saesplade search --index concepts.index --model model --topics queries.tsv --out run.trec
    """
    from pyterrier_saesplade.evaluation import search as search_index

    settings: dict[str, Any] = {"k": k, "doc_max_length": doc_max_length, "device": device, "precision": precision}
    if model is None:
        refuse("--model", **{"--k": k, "--doc-max-length": doc_max_length, "--device": device})
    opened = None if model is None else open_model(model, **settings)
    options = assigned("--engine-option", engine_option)
    search_index(
        index, opened, topics, out, num_results=num_results, engine_options=options, tag=tag, overwrite=overwrite
    )


@app.command()
def export(
    store: Annotated[Path, typer.Option(help="Folder of a store of vectors.")],
    format: Annotated[str, typer.Option(help="Format: anserini, ciff, jsonl, npz, opensearch or elasticsearch.")],
    out: Annotated[
        Path, typer.Option(help="File to write (ciff, jsonl; compressed if it ends in .jsonl.gz), or folder (others).")
    ],
    queries: Annotated[
        Path | None, typer.Option(help="File of encoded queries (.parquet) to export as well; anserini only.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Integer levels per unit of weight. By default, 10 for anserini and ciff, else floats."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the vectors of a store in the format of another tool.

    Example: saesplade export --store vectors --format ciff --out concepts.ciff
    """
    from pyterrier_saesplade.formats import export as export_vectors
    from pyterrier_saesplade.impacts import Quantization

    quantization = None if scale is None else Quantization(scale)
    export_vectors(store, format, out, queries=queries, quantization=quantization, overwrite=overwrite)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Option(help="File of vectors.")],
    format: Annotated[str, typer.Option(help="Format of the file: ciff or jsonl.")],
    out: Annotated[Path, typer.Option(help="Folder to write the store to.")],
    model: Annotated[str | None, MODEL] = None,
    scale: Annotated[
        float, typer.Option(help="Integer levels per unit of weight in the file: its weights are divided by this.")
    ] = 1,
) -> None:
    """Make a store from vectors of another tool, for any engine. If a model made them, name it.

    Example: saesplade import --file docs.jsonl.gz --format jsonl --scale 100 --out vectors
    """
    from pyterrier_saesplade.formats import import_vectors

    import_vectors(file, format, out, model=None if model is None else open_model(model), scale=scale)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Folder of an index or a store.")],
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print a summary of an index or a store. It has the model, quantisation, counts, density and frequent latents.

    Example: saesplade inspect concepts.index
    """
    from pyterrier_saesplade.engines import inspect as inspect_folder

    inspection = inspect_folder(path)
    print(inspection.to_json() if json else inspection)
