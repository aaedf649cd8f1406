"""Every collection that this machine has: read completely, and a part of it evaluated."""

import json
from collections.abc import Mapping
from pathlib import Path

import ir_measures
import pandas as pd
import pytest

from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.evaluation import evaluate

pytestmark = pytest.mark.slow

#: Chinese does not separate words by blanks, so systems that match words refuse it.
LANGUAGES = {"ar", "de", "es", "ru", "zh"}


@pytest.fixture
def documents(each_collection: Path) -> dict[str, str]:
    """All texts by docno."""
    read = [(document["docno"], document["text"]) for document in open_collection(each_collection).get_corpus_iter()]
    documents = dict(read)
    assert len(documents) == len(read)
    return documents


def part_of(collection: Collection, documents: Mapping[str, str], folder: Path) -> Collection:
    """Returns five queries over the first 100 documents and the documents that are relevant to them."""
    topics, qrels = collection.topics(), collection.qrels()
    relevant = qrels[qrels["label"] > 0]
    qids = relevant["qid"].drop_duplicates().head(5)
    relevant = relevant[relevant["qid"].isin(qids)].groupby("qid").head(20)
    docnos = dict.fromkeys([*list(documents)[:100], *relevant["docno"]])
    kept = [{"docno": docno, "text": documents[docno]} for docno in docnos]
    return write_collection(folder, kept, topics[topics["qid"].isin(qids)], relevant)


def test_queries_and_judgements_are_of_the_documents(each_collection: Path, documents: dict[str, str]) -> None:
    """This holds for the further query sets too."""
    collection = open_collection(each_collection)
    for query_set in (None, *sorted(file.parent.name for file in each_collection.glob("*/qrels.txt"))):
        topics, qrels = collection.topics(query_set), collection.qrels(query_set)
        assert topics["query"].str.strip().all()
        assert set(qrels["qid"]) <= set(topics["qid"])
        assert set(qrels["docno"]) <= set(documents)


def test_systems_are_compared(
    each_collection: Path, documents: dict[str, str], random_model_path: Path, tmp_path: Path
) -> None:
    """The model is compared with systems that match words, except in Chinese."""
    part = part_of(open_collection(each_collection), documents, tmp_path / "part")
    language = each_collection.name if each_collection.name in LANGUAGES else None
    baselines = [] if language == "zh" else ["bm25", "sum", "words+concepts"]
    measures = ["nDCG@10", "R@100"]
    comparison = evaluate(
        part, random_model_path, tmp_path / "out", baselines=baselines, measures=measures, language=language
    )
    table = comparison.table.set_index("name")
    assert table.index.tolist() == [*baselines, "saesplade"]
    assert table[measures].stack().between(0, 1).all()
    assert (table.loc[baselines, "nDCG@10"] > 0.3).all()
    assert table["R@100"]["saesplade"] > 0
    assert (table["qd_flops"] > 0).all()
    perquery = pd.read_csv(tmp_path / "out" / "perquery.csv", dtype={"qid": str})
    topics = part.topics()["qid"]
    assert perquery.groupby(["name", "measure"])["qid"].agg(list).map(lambda qids: qids == topics.tolist()).all()
    known = {document["docno"] for document in part.get_corpus_iter()}
    for name in table.index:
        run = pd.DataFrame(ir_measures.read_trec_run(str(tmp_path / "out" / "runs" / f"{name}.trec.gz")))
        assert set(run["query_id"]) <= set(topics)
        assert set(run["doc_id"]) <= known
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert (about["n_docs"], about["n_queries"]) == (len(known), len(topics))
