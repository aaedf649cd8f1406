"""The ``saesplade`` command: one verb for each step of the road, each a public function of the package."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from typer.core import TyperGroup

from pyterrier_saesplade.engines.java import JavaNotFoundError
from pyterrier_saesplade.errors import EngineError
from pyterrier_saesplade.metrics import DEFAULT_MEASURES

if TYPE_CHECKING:
    from pyterrier_saesplade.saesplade import SaeSplade

# Where this version of typer keeps click's UsageError is its own affair.
_UsageError: Any = typer.BadParameter.__base__


class _Saesplade(TyperGroup):
    """Reports a user's mistake in one line, without a traceback, and with exit code 2."""

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]
        try:
            code = super().main(args, standalone_mode=False, **extra)
        except (ValueError, OSError, ImportError, JavaNotFoundError, EngineError, _UsageError, *_misfits()) as error:
            message = error.format_message() if isinstance(error, _UsageError) else str(error)
            print(f"saesplade: {' '.join(message.split())}", file=sys.stderr)
            code = 2
        if standalone_mode:
            sys.exit(code)
        return code


def _misfits() -> tuple[type[Exception], ...]:
    """PyTerrier's error of stages that do not fit; nobody can have raised it before PyTerrier was imported."""
    pyterrier = sys.modules.get("pyterrier")
    return () if pyterrier is None else (pyterrier.validate.InputValidationError,)


app = typer.Typer(cls=_Saesplade, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_COLLECTION: Any = typer.Option(
    help="Folder with docs.jsonl[.gz], queries.tsv, qrels.txt; a data set of PyTerrier or ir_datasets; docstrings."
)
_Collection = Annotated[str, _COLLECTION]
_MODEL: Any = typer.Option(help="SAE-SPLADE model, folder or hub name; splade=NAME for a SPLADE checkpoint.")
_Model = Annotated[str, _MODEL]
_K = Annotated[int | None, typer.Option(help="Latents kept per token, in place of the model's.")]
_DocMaxLength = Annotated[int | None, typer.Option(help="Word pieces kept per document, in place of the model's.")]
_Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:1; the first GPU if there is one.")]
_Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
_Set = Annotated[
    list[str] | None, typer.Option(help="NAME=VALUE, a setting in place of the file's; repeat for several.")
]
_PIPELINES = "bm25, dense=NAME, a model, splade=NAME, module:pipeline, or several with + between"
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@app.callback()
def _saesplade() -> None:
    """Learned sparse retrieval over the concepts of a sparse autoencoder (SAE-SPLADE)."""
    log = logging.getLogger("pyterrier_saesplade")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())


@app.command()
def pretrain(
    collection: _Collection,
    backbone: Annotated[str, typer.Option(help="Folder or hub name of any Hugging Face encoder.")],
    out: Annotated[Path, typer.Option(help="Folder that the model will be.")],
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; the paper's is in examples/.")] = None,
    width: Annotated[int | None, typer.Option(help="Number of latents; 16384 unless the file says otherwise.")] = None,
    k: Annotated[int | None, typer.Option(help="Latents kept per token; 8 likewise.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; 250 likewise.")] = None,
    doc_max_length: Annotated[int | None, typer.Option(help="Word pieces kept per document; 128 likewise.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random; 42 likewise.")] = None,
    set: _Set = None,
    queries: Annotated[Path | None, typer.Option(help="File of qid<TAB>query lines, whose texts are mixed in.")] = None,
    device: _Device = None,
) -> None:
    """Learn a vocabulary of concepts from a collection, without labels.

    Example: saesplade pretrain --collection docstrings --backbone distilbert-base-uncased --out model
    """
    from pyterrier_saesplade.collections import open_collection, read_topics
    from pyterrier_saesplade.saesplade import SaeSplade
    from pyterrier_saesplade.training import PretrainConfig

    settings = PretrainConfig.from_yaml(config) if config else PretrainConfig()
    settings = settings.changed(dict(_assigned("--set", text) for text in set or []), where="--set")
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
    model: _Model,
    out: Annotated[Path, typer.Option(help="Folder that the new model will be.")],
    collection: Annotated[str | None, _COLLECTION] = None,
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
    set: _Set = None,
    device: _Device = None,
) -> None:
    """Train a model to rank, on judged queries, on a teacher's scores or on triples.

    Example: saesplade finetune --model model --collection my-collection --out tuned
    """
    from pyterrier_saesplade.training import FinetuneConfig
    from pyterrier_saesplade.training import finetune as train
    from pyterrier_saesplade.training.data.sources import read_labels, read_training_data

    settings = FinetuneConfig.from_yaml(config) if config else FinetuneConfig()
    settings = settings.changed(dict(_assigned("--set", text) for text in set or []), where="--set")
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


@app.command()
def mine(
    collection: _Collection,
    retriever: Annotated[str, typer.Option(help=f"What finds candidates: {_PIPELINES}.")],
    teacher: Annotated[str, typer.Option(help="What scores them: the same, or cross-encoder=NAME.")],
    out: Annotated[Path, typer.Option(help="Distillation file to write (.jsonl).")],
    queries: Annotated[
        Path | None, typer.Option(help="File of qid<TAB>query lines without judgements, in place of the collection's.")
    ] = None,
    query_set: Annotated[str, typer.Option(help="Query set of the collection, with its judgements.")] = "train",
    nway: Annotated[int, typer.Option(help="Passages of a query, the positive included.")] = 32,
    indexes: Annotated[
        Path | None, typer.Option(help="Folder that indexes are kept in; OUT.indexes unless given.")
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Write training data: candidates that one pipeline finds, with the scores of another. Goes on if it was killed.

    Example: saesplade mine --collection my-collection --retriever bm25 --teacher cross-encoder=NAME --out mined.jsonl
    """
    from pyterrier_saesplade.collections import open_collection, passages_of, read_topics
    from pyterrier_saesplade.evaluation.pipelines import Pipelines
    from pyterrier_saesplade.files import require_new
    from pyterrier_saesplade.training.mine import mine as write_mined
    from pyterrier_saesplade.training.mine import relevant_documents, with_known_documents

    require_new(out, overwrite=overwrite)
    opened = open_collection(collection)
    pipelines = Pipelines(opened, indexes or Path(f"{out}.indexes"))
    qrels = None if queries else with_known_documents(opened.qrels(query_set), passages_of(opened))
    relevant = {} if qrels is None else relevant_documents(qrels)
    write_mined(
        opened.topics(query_set) if queries is None else read_topics(queries),
        # The relevant ones among what is found are not candidates.
        pipelines.retriever(retriever, nway + max(map(len, relevant.values()), default=0)),
        pipelines.teacher(teacher),
        out,
        qrels=qrels,
        nway=nway,
        names=(retriever, teacher),
        overwrite=overwrite,
        verbose=True,
    )


@app.command()
def queries(
    collection: _Collection,
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
    overwrite: _Overwrite = False,
) -> None:
    """Make queries from a collection's documents, for `saesplade mine`, where there are none.

    Example: saesplade queries --collection my-collection --out pseudo.tsv
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.training.pseudo import write_pseudo_queries

    documents = open_collection(collection).get_corpus_iter()
    write_pseudo_queries(documents, out, count, kinds=kind, seed=seed, overwrite=overwrite)  # type: ignore[arg-type]


@app.command()
def encode(
    model: _Model,
    out: Annotated[Path, typer.Option(help="Folder of the store; for queries a file that ends in .parquet.")],
    collection: Annotated[str | None, _COLLECTION] = None,
    queries: Annotated[Path | None, typer.Option(help="File of qid<TAB>query lines, in place of a collection.")] = None,
    shard: Annotated[str, typer.Option(help="i/n: encode the i-th of n shares, i from 0; see the README.")] = "0/1",
    workers: Annotated[int, typer.Option(help="Processes; on several GPUs, one for each.")] = 1,
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits.")] = False,
    k: _K = None,
    doc_max_length: _DocMaxLength = None,
    device: _Device = None,
    precision: _Precision = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of queries.")] = False,
) -> None:
    """Encode a collection once, for any engine; or a file of queries. A killed encoding goes on with the same command.

    Example: saesplade encode --model model --collection docstrings --out vectors
    """
    from pyterrier_saesplade.collections import open_collection, read_topics
    from pyterrier_saesplade.store.encode import encode_corpus
    from pyterrier_saesplade.store.queries import encode_topics

    if (collection is None) == (queries is None):
        raise typer.BadParameter("give either --collection or --queries")
    if queries is None:
        _refuse("for queries", **{"--overwrite": overwrite})
    else:
        _refuse("for a collection", **{"--shard": shard != "0/1", "--workers": workers != 1, "--half": half})
    share = re.fullmatch(r"(\d+)/(\d+)", shard)
    if share is None:
        raise typer.BadParameter(f"--shard must be i/n, such as 0/4, not {shard}")
    opened = _open(model, k=k, doc_max_length=doc_max_length, device=device, precision=precision)
    if queries is not None:
        encode_topics(opened, read_topics(queries), out, overwrite=overwrite)
        return
    numbers = int(share[1]), int(share[2])
    assert collection is not None
    documents = open_collection(collection)
    store = encode_corpus(opened, documents, out, shard=numbers, workers=workers, half=half, verbose=True)
    if store is None:
        logging.getLogger(__name__).info("shard %s is done; the store is complete when the others are", shard)


@app.command()
def index(
    out: Annotated[Path, typer.Option(help="Folder that the index will be.")],
    collection: Annotated[str | None, _COLLECTION] = None,
    model: Annotated[str | None, _MODEL] = None,
    store: Annotated[Path | None, typer.Option(help="Store of vectors, in place of collection and model.")] = None,
    engine: Annotated[str, typer.Option(help="terrier, anserini, pisa, bmp, seismic, milvus or exact.")] = "terrier",
    engine_option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, a build option of the engine; repeat for several.")
    ] = None,
    prune_k: Annotated[
        int | None, typer.Option(help="Keep this many weights of a document, the largest.", min=1)
    ] = None,
    prune_ratio: Annotated[
        float | None, typer.Option(help="Keep weights of at least this share of a document's largest.")
    ] = None,
    prune_mass: Annotated[
        float | None, typer.Option(help="Keep the fewest weights that have this share of a document's sum.")
    ] = None,
    prune_threshold: Annotated[float | None, typer.Option(help="Keep weights of at least this much.")] = None,
    max_df: Annotated[
        float | None, typer.Option(help="Drop latents that more than this share of the documents have.")
    ] = None,
    k: _K = None,
    doc_max_length: _DocMaxLength = None,
    device: _Device = None,
    precision: _Precision = "auto",
    overwrite: _Overwrite = False,
) -> None:
    """Index the documents of a collection, or of a store.

    Example: saesplade index --collection docstrings --model model --out concepts.index
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.engines.build import ConceptIndexer
    from pyterrier_saesplade.files import require_new
    from pyterrier_saesplade.impacts import Pruning
    from pyterrier_saesplade.store.reader import StoredVectors

    require_new(out, overwrite=overwrite)
    rules = (prune_k, prune_ratio, prune_mass, prune_threshold)
    pruning = None if rules == (None,) * 4 else Pruning(*rules)
    options: dict[str, Any] = {"pruning": pruning, "max_df": max_df, "overwrite": overwrite, "verbose": True}
    options["engine_options"] = dict(_assigned("--engine-option", text) for text in engine_option or [])
    if store is not None:
        given = {"--collection": collection, "--model": model, "--k": k, "--doc-max-length": doc_max_length}
        _refuse("for texts, not for a store", **given, **{"--device": device})
        vectors = StoredVectors(store)
        ConceptIndexer(vectors, out, engine, **options).index(vectors)
        return
    if collection is None or model is None:
        raise typer.BadParameter("give --collection and --model, or --store")
    opened = _open(model, k=k, doc_max_length=doc_max_length, device=device, precision=precision)
    opened.indexer(out, engine, **options).index(open_collection(collection).get_corpus_iter())


@app.command()
def search(
    index: Annotated[Path, typer.Option(help="Folder of an index.")],
    topics: Annotated[Path, typer.Option(help="File of qid<TAB>query lines, or of vectors (.parquet, .jsonl[.gz]).")],
    out: Annotated[Path, typer.Option(help="TREC run file to write; compressed if it ends in .gz.")],
    model: Annotated[str | None, _MODEL] = None,
    num_results: Annotated[int, typer.Option(help="Documents per query.")] = 1000,
    engine_option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, a search option of the engine; repeat for several.")
    ] = None,
    tag: Annotated[str, typer.Option(help="Name of the run.")] = "saesplade",
    k: _K = None,
    doc_max_length: _DocMaxLength = None,
    device: _Device = None,
    precision: _Precision = "auto",
    overwrite: _Overwrite = False,
) -> None:
    """Search an index with the model that built it (k and doc-max-length included), and write a TREC run.

    Example: saesplade search --index concepts.index --model model --topics queries.tsv --out run.trec
    """
    from pyterrier_saesplade.evaluation.search import search as search_index

    settings: dict[str, Any] = {"k": k, "doc_max_length": doc_max_length, "device": device, "precision": precision}
    if model is None:
        _refuse("for a model", **{"--k": k, "--doc-max-length": doc_max_length, "--device": device})
    opened = None if model is None else _open(model, **settings)
    options = dict(_assigned("--engine-option", text) for text in engine_option or [])
    search_index(
        index, opened, topics, out, num_results=num_results, engine_options=options, tag=tag, overwrite=overwrite
    )


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="Folder of indexes and results.")],
    baseline: Annotated[
        list[str],
        typer.Option(
            default_factory=lambda: ["bm25", "dense"],
            help="bm25, rm3, dense, splade=FOLDER, saesplade,k=5, words+concepts, sum, rrf, feedback, "
            "pt-splade=FOLDER, anserini-bm25, anserini-rm3, late-interaction, colbert=NAME, colbert-rerank=NAME; "
            "repeat for several.",
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
    collection: Annotated[str | None, _COLLECTION] = None,
    query_set: Annotated[str | None, typer.Option(help="Query set of the collection, if not the main one.")] = None,
    exclude_own: Annotated[
        bool, typer.Option("--exclude-own", help="A query does not find the document that has its qid for docno.")
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
    set: Annotated[list[str] | None, typer.Option(help="Set of the suite; repeat for several.")] = None,
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
    k: _K = None,
    doc_max_length: _DocMaxLength = None,
    query_max_length: Annotated[
        int | None, typer.Option(help="Word pieces kept per query, in place of the model's or the suite's.")
    ] = None,
    device: _Device = None,
    precision: _Precision = "auto",
    overwrite: _Overwrite = False,
) -> None:
    """Compare a model with baselines, and write a table, TREC runs and a figure; for a suite, of each of its sets.

    Example: saesplade evaluate --collection docstrings --model model --baseline bm25 --out comparison
    """
    from pyterrier_saesplade.evaluation.experiment import evaluate as evaluate_collection

    if (collection is None) == (suite is None):
        raise typer.BadParameter("give either --collection or --suite")
    settings: dict[str, Any] = {"k": k, "doc_max_length": doc_max_length, "query_max_length": query_max_length}
    settings |= {"device": device, "precision": precision}
    common: dict[str, Any] = {"baselines": baseline, "indexes": indexes, "overwrite": overwrite}
    common["command"] = shlex.join(["saesplade", *sys.argv[1:]])
    of_collection: dict[str, Any] = {"query_set": query_set, "exclude_own": exclude_own, "language": language}
    if suite is not None:
        from pyterrier_saesplade.evaluation.suites import evaluate_suite

        given = {"--query-set": query_set, "--exclude-own": exclude_own, "--language": language}
        _refuse("for a collection: a suite says it of its sets", **given)
        print(
            evaluate_suite(
                suite, model, out, sets=set or (), pretrain=pretrain, measures=measure or None, **common, **settings
            )
        )
        return
    _refuse("for a suite", **{"--set": set, "--pretrain": pretrain})
    if model is None:
        raise typer.BadParameter("give --model")
    assert collection is not None
    opened = _open(model, **settings)
    measures = measure or DEFAULT_MEASURES
    print(evaluate_collection(collection, opened, out, measures=measures, **of_collection, **common))


@app.command()
def export(
    store: Annotated[Path, typer.Option(help="Folder of a store of vectors.")],
    format: Annotated[str, typer.Option(help="anserini, ciff, jsonl, npz, opensearch or elasticsearch.")],
    out: Annotated[Path, typer.Option(help="File to write (ciff, jsonl; .jsonl.gz is compressed), else folder.")],
    queries: Annotated[Path | None, typer.Option(help="File of encoded queries (.parquet), for anserini.")] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Levels per unit of weight; 10 for anserini and ciff, else floats stay."),
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Write a store's vectors in the format of another tool.

    Example: saesplade export --store vectors --format ciff --out concepts.ciff
    """
    from pyterrier_saesplade.formats.export import export as export_vectors
    from pyterrier_saesplade.impacts import Quantization

    quantization = None if scale is None else Quantization(scale)
    export_vectors(store, format, out, queries=queries, quantization=quantization, overwrite=overwrite)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Option(help="File of vectors.")],
    format: Annotated[str, typer.Option(help="ciff or jsonl.")],
    out: Annotated[Path, typer.Option(help="Folder of the store to make.")],
    model: Annotated[str | None, _MODEL] = None,
    scale: Annotated[float, typer.Option(help="Levels per unit of weight in the file: weights are divided by it.")] = 1,
) -> None:
    """Make a store of vectors that another tool made, for any engine. Name the model, if there is one.

    Example: saesplade import --file docs.jsonl.gz --format jsonl --scale 100 --out vectors
    """
    from pyterrier_saesplade.formats.imports import import_vectors

    import_vectors(file, format, out, model=None if model is None else _open(model), scale=scale)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Folder of an index or of a store.")],
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print what an index or a store holds: model, quantisation, counts, density, the most frequent latents.

    Example: saesplade inspect concepts.index
    """
    from pyterrier_saesplade.evaluation.inspect import inspect as inspect_folder

    inspection = inspect_folder(path)
    print(inspection.to_json() if json else inspection)


@app.command()
def explain(
    model: _Model,
    query: Annotated[str, typer.Option(help="The query.")],
    document: Annotated[str | None, typer.Option(help="The document's text.")] = None,
    docno: Annotated[str | None, typer.Option(help="Its docno in --collection, in place of the text.")] = None,
    collection: Annotated[str | None, _COLLECTION] = None,
    index: Annotated[Path | None, typer.Option(help="Index whose score it is; else that of the vectors.")] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(help="Lexicon that names the latents' words; that in the model's folder if there is one."),
    ] = None,
    k: _K = None,
    doc_max_length: _DocMaxLength = None,
    device: _Device = None,
    precision: _Precision = "auto",
) -> None:
    """Say why a document has its score: the latents that it shares with a query, and the words that light them.

    Example: saesplade explain --index concepts.index --model model --query "a query" --document "a text"
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.concepts.lexicon import Lexicon

    if (document is None) == (docno is None) or (docno is None) != (collection is None):
        raise typer.BadParameter("give either --document, or --docno and --collection")
    if collection is not None:
        documents = open_collection(collection).get_corpus_iter()
        document = next((known["text"] for known in documents if known["docno"] == docno), None)
        if document is None:
            raise typer.BadParameter(f"there is no document {docno!r} in {collection}")
    assert document is not None
    opened = _open(model, k=k, doc_max_length=doc_max_length, device=device, precision=precision)
    words = Lexicon.beside(opened) if lexicon is None else Lexicon.open(lexicon)
    print(opened.explain(query, document, index=index, lexicon=words))


@app.command()
def concepts(
    word: Annotated[str | None, typer.Argument(help="Word whose latents are printed.", show_default=False)] = None,
    model: Annotated[str | None, _MODEL] = None,
    collection: Annotated[str | None, _COLLECTION] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(help="File of the lexicon, made of --collection; MODEL/concepts.parquet unless given."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Latents that are printed at most.", min=1)] = 5,
    k: _K = None,
    doc_max_length: _DocMaxLength = None,
    device: _Device = None,
    precision: _Precision = "auto",
    overwrite: _Overwrite = False,
) -> None:
    """Read off a collection what a model's latents stand for, or print those that a word lights.

    Example: saesplade concepts --model model --collection docstrings
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.concepts.lexicon import Lexicon
    from pyterrier_saesplade.files import require_new

    if word is None and collection is None:
        raise typer.BadParameter("name a word, or give --collection to make the lexicon of")
    if model is None:
        _refuse("for a model", **{"--collection": collection, "--k": k, "--doc-max-length": doc_max_length})
    settings: dict[str, Any] = {"k": k, "doc_max_length": doc_max_length, "device": device, "precision": precision}
    opened = None if model is None else _open(model, **settings)
    if lexicon is None:
        if opened is None:
            raise typer.BadParameter("give --lexicon, or --model: a model has its lexicon in its folder")
        lexicon = Lexicon.path(opened)
    if collection is None:
        found = Lexicon.open(lexicon)
    else:
        assert opened is not None  # else --collection was refused
        require_new(lexicon, overwrite=overwrite)
        found = Lexicon.build(opened, open_collection(collection).get_corpus_iter(), verbose=True)
        found.write(lexicon, overwrite=overwrite)
    if word is None:
        return
    if opened is not None:
        lit = found.lit(opened, word)[:limit]
        print(f"latents that the model lights for {word!r}:")
        for weight, concept in lit:
            print(f"{weight:5.2f}  {concept}")
        print()
    print(f"latents that {word!r} lights in the collection:")
    known = found.of_word(word)[:limit]
    print(*known, sep="\n") if known else print("none: it is not there, or lights them less than other words do")


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
    from pyterrier_saesplade.evaluation.statistics import comparisons

    if collection is None:
        _refuse("for --collection", **{"--query-set": query_set})
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
    overwrite: _Overwrite = False,
) -> None:
    """Write a report of comparisons: one HTML page with tables to sort and figures, which needs no network.

    Example: saesplade report comparison --out report.html
    """
    from pyterrier_saesplade.evaluation.page import write_report

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
    from pyterrier_saesplade.evaluation.reproduce import reproduce as make_table
    from pyterrier_saesplade.evaluation.tables import Folders, open_tables

    opened = open_tables(tables)
    if markdown:
        print(opened.markdown(), end="")
    elif table is None:
        print(opened.listing())
    elif dry_run:
        print(opened.describe(table, Folders(out, data, configs)))
    else:
        print(make_table(table, out, data=data, configs=configs, gpus=gpus, tables=opened))


_plot = typer.Typer(rich_markup_mode=None)
app.add_typer(_plot, name="plot")
_Figure = Annotated[Path, typer.Option("--out", help="File to write: .png, .pdf or .svg.")]
_NAMED = "NAME=FOLDER gives it a name"


@_plot.callback()
def _plots() -> None:
    """Draw figures, as wide as a column of a paper."""


@_plot.command()
def tradeoff(
    folders: Annotated[
        list[str], typer.Argument(help=f"Folders that evaluate wrote; {_NAMED}, and those of one name are a sweep.")
    ],
    out: _Figure,
    measure: Annotated[
        str | None, typer.Option(help="Measure on the vertical axis; RR@10, or if that is missing the first one.")
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Draw effectiveness against QD-FLOPs; with RR@10 there are lines of equal ΔE.

    Example: saesplade plot tradeoff comparison --out tradeoff.pdf
    """
    from pyterrier_saesplade.evaluation.results import joined, read_summary
    from pyterrier_saesplade.figures import plot_tradeoff, require_figure

    require_figure(out, overwrite=overwrite)
    # Of a suite the means: its sets have points of their own, which are no sweep.
    results = [(name, read_summary(folder)) for name, folder in map(_named, folders)]
    first = results[0][1].measures
    measure = measure or ("RR@10" if "RR@10" in first else first[0])
    plot_tradeoff(joined(results, measure), measure, out)


@_plot.command()
def sweep(
    table: Annotated[Path, typer.Argument(help="CSV file with the columns name, k, qd_flops and the measure.")],
    out: _Figure,
    measure: Annotated[str, typer.Option(help="Column on the vertical axis.")] = "nDCG@10",
    weights: Annotated[
        bool, typer.Option("--weights", help="A line for each k: its rows are in the order of the FLOPS weight.")
    ] = False,
    overwrite: _Overwrite = False,
) -> None:
    """Draw a sweep of k, or of k and the FLOPS weight.

    Example: saesplade plot sweep k.csv --out k.pdf
    """
    from pyterrier_saesplade.evaluation.results import read_sweep
    from pyterrier_saesplade.figures import plot_k_lambda, plot_k_sweep, require_figure

    require_figure(out, overwrite=overwrite)
    (plot_k_lambda if weights else plot_k_sweep)(read_sweep(table, measure), measure, out)


@_plot.command()
def differences(
    folder: Annotated[Path, typer.Argument(help="Folder that evaluate wrote.")],
    out: _Figure,
    baseline: Annotated[str, typer.Option(help="System to compare with.")] = "bm25",
    system: Annotated[str, typer.Option(help="System that is compared.")] = "saesplade",
    measure: Annotated[str, typer.Option(help="Measure of the differences.")] = "nDCG@10",
    overwrite: _Overwrite = False,
) -> None:
    """Draw what each query gains and loses, in order.

    Example: saesplade plot differences comparison --baseline bm25 --out differences.pdf
    """
    from pyterrier_saesplade.evaluation.results import differences as differences_of
    from pyterrier_saesplade.evaluation.results import read_comparison
    from pyterrier_saesplade.figures import plot_differences, require_figure

    require_figure(out, overwrite=overwrite)
    gained = differences_of(read_comparison(folder), measure, system, baseline)
    plot_differences(gained, out, measure=measure, system=system, baseline=baseline)


@_plot.command("precision-recall")
def precision_recall(
    folder: Annotated[Path, typer.Argument(help="Folder that evaluate wrote, with its runs.")],
    collection: _Collection,
    out: _Figure,
    query_set: Annotated[str | None, typer.Option(help="Its query set, if not the main one was evaluated.")] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Draw interpolated precision at eleven levels of recall, a curve for each run.

    Example: saesplade plot precision-recall comparison --collection my-collection --out curves.pdf
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.evaluation.results import precision_at_recall, read_comparison, read_runs
    from pyterrier_saesplade.figures import plot_precision_recall, require_figure

    require_figure(out, overwrite=overwrite)
    results = read_comparison(folder)
    qrels = results.judgements(open_collection(collection).qrels(query_set))
    curves = {name: precision_at_recall(run, qrels) for name, run in read_runs(results)}
    plot_precision_recall(curves, out, title=results.title)


@_plot.command()
def postings(
    indexes: Annotated[list[str], typer.Argument(help=f"Folders of indexes; {_NAMED}.")],
    out: _Figure,
    overwrite: _Overwrite = False,
) -> None:
    """Draw the lengths of posting lists, the longest first.

    Example: saesplade plot postings concepts.index splade=words.index --out postings.pdf
    """
    from pyterrier_saesplade.engines.build import open_index
    from pyterrier_saesplade.figures import plot_postings, require_figure

    require_figure(out, overwrite=overwrite)
    named = [_named(index) for index in indexes]
    plot_postings({name or path.name: open_index(path).statistics for name, path in named}, out)


@_plot.command("document-frequencies")
def document_frequencies(
    index: Annotated[Path, typer.Argument(help="Folder of an index.")],
    out: _Figure,
    overwrite: _Overwrite = False,
) -> None:
    """Draw in how many documents latents occur, and the share of those that occur in none.

    Example: saesplade plot document-frequencies concepts.index --out frequencies.pdf
    """
    from pyterrier_saesplade.engines.build import open_index
    from pyterrier_saesplade.figures import plot_document_frequencies, require_figure

    require_figure(out, overwrite=overwrite)
    plot_document_frequencies(open_index(index).statistics, out)


@_plot.command()
def anisotropy(
    collection: _Collection,
    backbone: Annotated[list[str], typer.Option(help="Encoder, folder or hub name; repeat for several.")],
    out: _Figure,
    device: _Device = None,
    overwrite: _Overwrite = False,
) -> None:
    """Draw how alike the states of two random tokens are, layer by layer.

    Example: saesplade plot anisotropy --backbone distilbert-base-uncased --collection docstrings --out anisotropy.pdf
    """
    from pyterrier_saesplade.collections import open_collection
    from pyterrier_saesplade.evaluation.anisotropy import MAX_TEXTS
    from pyterrier_saesplade.evaluation.anisotropy import anisotropy as anisotropy_of
    from pyterrier_saesplade.figures import plot_anisotropy, require_figure

    require_figure(out, overwrite=overwrite)
    opened = open_collection(collection)
    named = [_named(one) for one in backbone]
    texts = [document["text"] for document in islice(opened.get_corpus_iter(), MAX_TEXTS)]
    plot_anisotropy({name or path.name: anisotropy_of(str(path), texts, device=device) for name, path in named}, out)


@_plot.command()
def training(
    models: Annotated[list[str], typer.Argument(help=f"Folders of models; {_NAMED}.")],
    out: _Figure,
    overwrite: _Overwrite = False,
) -> None:
    """Draw the learning curves of trainings.

    Example: saesplade plot training my-model --out curves.pdf
    """
    from pyterrier_saesplade.evaluation.results import read_log
    from pyterrier_saesplade.figures import plot_training, require_figure

    require_figure(out, overwrite=overwrite)
    named = [_named(model) for model in models]
    plot_training({name or path.name: read_log(path) for name, path in named}, out)


def _named(text: str) -> tuple[str | None, Path]:
    """A folder and the name it was given, if any: what exists as it is written has none."""
    name, equals, folder = text.partition("=")
    return (None, Path(text)) if not equals or Path(text).exists() else (name, Path(folder))


def _refuse(purpose: str, **options: Any) -> None:
    """Reports an option that was given, and would not count."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise typer.BadParameter(f"{name} is {purpose}")


def _assigned(option: str, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{option} must be NAME=VALUE, not {text}")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"the value of {option} {text} cannot be read: {error}") from error


def _open(model: str, **settings: Any) -> SaeSplade:
    from pyterrier_saesplade.evaluation.named import open_model

    return open_model(model, **settings)


def main() -> None:
    """Runs the command line."""
    app(prog_name="saesplade")


if __name__ == "__main__":
    main()
