"""Systems of other tools in a comparison: BM25 and RM3 of Anserini, and pyterrier-splade."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import read_trec_run

from pyterrier_saesplade.collections import Collection, write_collection
from pyterrier_saesplade.engines.lucene import get_lucene
from pyterrier_saesplade.engines.lucene.process import LuceneProcess
from pyterrier_saesplade.errors import (
    DataError,
    EngineError,
    JavaNotFoundError,
    MissingPackageError,
    PathNotFoundError,
    SettingError,
)
from pyterrier_saesplade.evaluation import Comparison, evaluate
from pyterrier_saesplade.evaluation.systems import ArtifactCache, Corpus, make_systems
from pyterrier_saesplade.evaluation.systems.anserini import AnseriniBm25, AnseriniRetriever, AnseriniRm3
from pyterrier_saesplade.evaluation.systems.pt_splade import PtSplade, PtSpladeQueries
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade

pytestmark = pytest.mark.slow

NO_QUERIES = pd.DataFrame({"qid": [], "query": []}, dtype=object)

#: One text is empty, one docno needs escaping in files, and all texts are short: Lucene does not round their lengths.
TEXTS = {"d1": "The cats sat on the mat, cats!", 'd"2\\é𝄞': "a dog and a cat", "d3": "birds", "d4": " \n", "d0": "bird"}


@pytest.fixture(scope="module")
def compared(
    small_collection: Collection, splade_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Comparison, Path]:
    """All three, next to the same SPLADE checkpoint in this package."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    baselines = ["bm25", "anserini-bm25", "anserini-rm3", f"pt-splade={splade_path}"]
    model = SaeSplade.from_splade(splade_path)
    return evaluate(small_collection, model, out, baselines=baselines, measures=["nDCG@10", "R@1000"]), out


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> ArtifactCache:
    return corpus_of(TEXTS, tmp_path_factory.mktemp("words"))


def corpus_of(texts: dict[str, str], folder: Path) -> ArtifactCache:
    topics = pd.DataFrame({"qid": ["q"], "query": ["cat"]})
    qrels = pd.DataFrame({"qid": ["q"], "docno": ["d1"], "label": [1]})
    documents = [{"docno": docno, "text": text} for docno, text in texts.items()]
    collection = write_collection(folder / "collection", documents, topics, qrels)
    return ArtifactCache(Corpus.read(collection), folder / "indexes")


def found(artifacts: ArtifactCache, *queries: str, rm3: bool = False) -> list[list[str]]:
    system = AnseriniRm3() if rm3 else AnseriniBm25()
    _, retrieve = system.stages(artifacts)
    frame = pt.new.queries(list(queries))
    run = retrieve.transform(frame)
    return [run.loc[run["qid"] == qid, "docno"].tolist() for qid in frame["qid"]]


def test_every_peer_has_a_row_with_its_costs(compared: tuple[Comparison, Path]) -> None:
    table = compared[0].table.set_index("name")
    assert table.index.tolist() == ["bm25", "anserini-bm25", "anserini-rm3", "pt-splade", "splade"]
    assert table["nDCG@10"].between(0.3, 1).all()
    flops = table["qd_flops"]
    # Other stop words and another tokeniser, which weigh more because there are only six queries.
    assert 0.5 < flops["anserini-bm25"] / flops["bm25"] < 2
    assert flops["anserini-rm3"] > 1.5 * flops["anserini-bm25"]
    assert flops["pt-splade"] == pytest.approx(flops["splade"], rel=0.1)  # keeps weights from 0.01 on, not from 0.05
    assert table["nDCG@10"]["pt-splade"] == pytest.approx(table["nDCG@10"]["splade"], abs=0.02)


def test_pyterrier_splade_ranks_as_this_package_does(compared: tuple[Comparison, Path]) -> None:
    """The same checkpoint gives nearly the same rankings. Both round its weights; this package rounds to tenths."""
    theirs, ours = (
        pd.DataFrame(read_trec_run(str(compared[1] / "runs" / f"{name}.trec.gz"))) for name in ("pt-splade", "splade")
    )
    both = theirs.merge(ours, on=["query_id", "doc_id"], suffixes=("", "_ours"))
    assert both["query_id"].nunique() == 6
    for qid, scores in both.groupby("query_id"):
        tops = [set(run[run["query_id"] == qid].nlargest(10, "score")["doc_id"]) for run in (theirs, ours)]
        assert len(tops[0] & tops[1]) >= 9
        assert scores["score"].corr(scores["score_ours"], method="kendall") > 0.95


def test_both_systems_of_anserini_share_one_index(compared: tuple[Comparison, Path]) -> None:
    table = compared[0].table.set_index("name")
    assert table["index_mb"]["anserini-bm25"] == table["index_mb"]["anserini-rm3"] > 0
    (folder,) = (compared[1] / "indexes").glob("anserini-*")
    assert sorted(path.name for path in folder.iterdir()) == ["build.json", "index"]


def test_anserini_in_an_experiment_that_ignores_identical_ids(
    compared: tuple[Comparison, Path], small_collection: Collection, splade_path: Path, tmp_path: Path
) -> None:
    """Existing indexes are used again, and the stage can be asked for one more result."""
    comparison = evaluate(
        small_collection,
        SaeSplade.from_splade(splade_path),
        tmp_path,
        baselines=["anserini-bm25"],
        measures=["nDCG@10"],
        indexes=compared[1] / "indexes",
        ignore_identical_ids=True,
    )
    before = compared[0].table.set_index("name")
    after = comparison.table.set_index("name")
    assert after["nDCG@10"]["anserini-bm25"] == before["nDCG@10"]["anserini-bm25"]
    assert after["build_seconds"]["anserini-bm25"] == before["build_seconds"]["anserini-bm25"]


def test_pyterrier_splade_gives_the_weights_of_this_package_cut_to_integers(
    small_collection: Collection, splade_path: Path, tmp_path: Path
) -> None:
    """A document's weight loses less than 0.01, so a score loses less than 0.01 times the query's weights."""
    artifacts = ArtifactCache(Corpus.read(small_collection), tmp_path / "indexes")
    model = SaeSplade.from_splade(splade_path, precision="float32")
    topics = small_collection.topics()
    encode, retrieve = PtSplade(str(splade_path)).stages(artifacts)
    queries = encode.transform(topics)
    theirs = retrieve.transform(queries)
    # Terrier divides a query's weights by the largest one.
    largest = {qid: max(toks.values()) for qid, toks in zip(queries["qid"], queries["query_toks"], strict=True)}
    theirs["score"] *= theirs["qid"].map(largest) / 100**2

    floats = model.indexer(tmp_path / "floats", "exact").index(artifacts.corpus.documents())
    exact = (model.query_encoder() >> floats.retriever()).transform(topics)
    assert len(exact) >= len(theirs) > 0.95 * len(exact)
    joined = theirs[["qid", "docno", "score"]].merge(exact, on=["qid", "docno"], suffixes=("", "_exact"))
    assert len(joined) == len(theirs)
    lost = joined["score_exact"] - joined["score"]
    weights = joined["query_toks"].map(lambda toks: sum(toks.values()))
    assert lost.min() > -1e-4
    assert (lost < 0.01 * weights + 1e-4).all()

    index = model.indexer(tmp_path / "ours", quantization=Quantization(100)).index(artifacts.corpus.documents())
    ours = (model.query_encoder() >> index.retriever()).transform(topics)
    for qid in topics["qid"]:
        tops = [run[(run["qid"] == qid) & (run["rank"] < 10)]["docno"].tolist() for run in (ours, theirs)]
        assert tops[0][:3] == tops[1][:3]
        assert len(set(tops[0]) & set(tops[1])) >= 9


def test_queries_of_pyterrier_splade(splade_path: Path, check_contract: Callable[[pt.Transformer], None]) -> None:
    stage = PtSpladeQueries(str(splade_path))
    assert stage.transform(NO_QUERIES).columns.tolist() == ["qid", "query", "query_toks"]
    assert "splade" not in vars(stage)  # an empty frame loads no model
    check_contract(stage)
    assert stage == PtSpladeQueries(str(splade_path))
    assert hash(stage) == hash(PtSpladeQueries(str(splade_path)))
    assert stage != PtSpladeQueries(str(splade_path), 16)

    frame = pd.DataFrame({"qid": ["1", "2", "3"], "query": ["a query", None, ""]}, index=[5, 3, 5])
    encoded = stage.transform(frame)
    assert encoded.index.tolist() == [5, 3, 5]
    missing, empty = encoded["query_toks"].tolist()[1:]
    assert missing == pytest.approx(empty)
    expected = stage.splade.query_encoder().transform(pt.new.queries("a query"))["query_toks"].item()
    assert encoded["query_toks"].iloc[0] == pytest.approx(expected, abs=1e-3)  # batches are padded


def test_checkpoints_are_named_after_their_folders(splade_path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(splade_path)
    baselines = [
        f"pt-splade={splade_path}",
        f"pt-splade={tmp_path / 'other'},max_length=64",
        f"splade={splade_path},k=8",
    ]
    model = SaeSplade.from_splade(splade_path)
    names = [system.name for system in make_systems(baselines, model)]
    assert names == ["pt-splade-model", "pt-splade-other-64", "splade-model-k8", "splade"]
    assert make_systems(baselines[1:2], model)[0].name == "pt-splade-64"


def test_anserini_s_scores_are_bm25(words: ArtifactCache) -> None:
    """Lucene's formula by hand. The empty document is not indexed, and stop words are removed."""
    lengths = {"d1": 4, 'd"2\\é𝄞': 2, "d3": 1, "d0": 1}  # cat sat mat cat; dog cat; bird; bird
    average = sum(lengths.values()) / len(lengths)
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))

    def score(docno: str, tf: int) -> float:
        return idf * tf / (tf + 0.9 * (1 - 0.4 + 0.4 * lengths[docno] / average))

    _, retrieve = AnseriniBm25().stages(words)
    run = retrieve.transform(pd.DataFrame({"qid": ["x"], "query": ["the cat"]}))
    assert run.columns.tolist() == ["qid", "query", "docno", "score", "rank"]
    assert run["docno"].tolist() == ["d1", 'd"2\\é𝄞']
    assert run["rank"].tolist() == [0, 1]
    np.testing.assert_allclose(run["score"], [score("d1", 2), score('d"2\\é𝄞', 1)], atol=1e-4)


def test_queries_of_all_kinds(words: ArtifactCache) -> None:
    """Syntax, blanks, an empty query, stop words, more words than Lucene accepts. Equal scores are ordered by docno."""
    long = " ".join(f"word{number}" for number in range(3000))
    queries = ["birds", 'title cat^3\t(OR\n"dog', "", "the of", "zebra", f"{long} mat", "CATS -dogs \x00 𝄞"]
    both = ["d1", 'd"2\\é𝄞']
    expected = [["d0", "d3"], both[::-1], [], [], [], ["d1"], both[::-1]]
    assert found(words, *queries) == expected
    with_feedback = found(words, *queries, rm3=True)
    assert [set(docnos) >= set(before) for docnos, before in zip(with_feedback, expected, strict=True)] == [True] * 7
    assert [len(docnos) for docnos in with_feedback][2:5] == [0, 0, 0]


def test_a_retriever_of_anserini(words: ArtifactCache, check_contract: Callable[[pt.Transformer], None]) -> None:
    _, stage = AnseriniBm25().stages(words)
    assert isinstance(stage, AnseriniRetriever)
    check_contract(stage)
    assert stage == AnseriniRetriever(str(stage.index))
    assert hash(stage) == hash(AnseriniRetriever(str(stage.index)))
    assert stage != AnseriniRetriever(stage.index, rm3=True)
    assert stage != AnseriniRetriever(stage.index, 10)
    frame = pd.DataFrame({"qid": ["a", "a", "b"], "query": ["cat", None, "mat"], "note": [1, 2, 3]}, index=[1, 1, 0])
    run = stage.transform(frame)
    assert list(zip(run["note"], run["docno"], strict=True)) == [(1, "d1"), (1, 'd"2\\é𝄞'), (3, "d1")]
    assert len(AnseriniRetriever(stage.index, 1).transform(frame)) == 2
    with pytest.raises(SettingError, match=r"num_results.*\b0\b"):
        AnseriniRetriever(stage.index, 0)


def test_more_queries_than_one_request_has(words: ArtifactCache) -> None:
    queries = ["birds", "dog", "nothing"] * 200
    assert found(words, *queries) == [["d0", "d3"], ['d"2\\é𝄞'], []] * 200


def test_nothing_runs_for_an_empty_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pyterrier_saesplade.evaluation.systems.anserini.get_lucene", lambda: pytest.fail("Java was asked")
    )
    run = AnseriniRetriever(tmp_path / "missing").transform(NO_QUERIES)
    assert run.columns.tolist() == ["qid", "query", "docno", "score", "rank"]
    assert run.empty


def test_anserini_s_costs_by_hand(words: ArtifactCache) -> None:
    """Of five documents, two contain cat, one dog and two bird. No document contains the word of the second query."""
    queries = ["the cats and dogs and cats", "zebra", "birds"]
    assert AnseriniBm25().qd_flops(words, queries) == pytest.approx((2 + 1 + 2) / (3 * 5))
    assert AnseriniBm25().qd_flops(words, ["the"]) == 0
    # Feedback adds no word, because each is in more than a tenth of the documents. The same query is run twice.
    assert AnseriniRm3().qd_flops(words, queries) == pytest.approx(2 * (2 + 1 + 2) / (3 * 5))


def test_a_missing_index_of_anserini(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"Anserini.*missing"):
        AnseriniRetriever(tmp_path / "missing").search("cat")
    process = get_lucene()  # the process survives the error
    assert not isinstance(process, LuceneProcess) or process.pid is not None


def test_a_corpus_without_words_cannot_be_indexed(tmp_path: Path) -> None:
    system = AnseriniBm25()
    with pytest.raises(DataError, match=r"\bcollection\b"):
        system.stages(corpus_of({"d1": "", "d2": " "}, tmp_path))
    assert not list((tmp_path / "indexes").glob("anserini*"))


def test_errors_are_raised_before_any_work(splade_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = SaeSplade.from_splade(splade_path)
    with pytest.raises(SettingError, match="pt-splade=CHECKPOINT"):
        make_systems(["pt-splade"], model)
    with pytest.raises(PathNotFoundError, match=re.escape(str(tmp_path / "missing"))):
        make_systems([f"pt-splade={tmp_path / 'missing'}"], model)
    with pytest.raises(SettingError, match=r"max_length.*'0'"):
        make_systems([f"pt-splade={splade_path},max_length=0"], model)
    with pytest.raises(SettingError, match="'anserini-bm25=lucene'"):
        make_systems(["anserini-bm25=lucene"], model)
    with monkeypatch.context() as patched:
        patched.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingPackageError, match=r"pip install 'pyterrier_saesplade\[pt-splade\]'"):
            make_systems([f"pt-splade={splade_path}"], model)
        with pytest.raises(MissingPackageError, match=r"pip install 'pyterrier_saesplade\[pyserini\]'"):
            make_systems(["anserini-bm25"], model)
    with monkeypatch.context() as patched:
        patched.setattr("pyterrier_saesplade.engines.lucene.jvm.find_java", _no_java)
        with pytest.raises(JavaNotFoundError, match="none here"):
            make_systems(["anserini-rm3"], model)


def _no_java(needed: int) -> None:
    raise JavaNotFoundError("none here")
