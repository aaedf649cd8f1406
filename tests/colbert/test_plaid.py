"""PLAID: building indexes, and searching them."""

import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import RR

from pyterrier_saesplade.baselines import ColbertModel, PlaidIndex, PlaidIndexer
from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.errors import DataError, ModelMismatchError, PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.evaluation.systems import ArtifactCache, Corpus
from pyterrier_saesplade.evaluation.systems.late_interaction import Colbert, ColbertReranker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def collection(docstrings_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """200 docstrings, and 30 queries with one relevant document each."""
    whole = open_collection(docstrings_path)
    qrels = whole.qrels().head(30)
    asked = set(qrels["docno"])
    documents = [document for document in whole.get_corpus_iter() if document["docno"] in asked]
    others = (document for document in whole.get_corpus_iter() if document["docno"] not in asked)
    topics = whole.topics()
    folder = tmp_path_factory.mktemp("collections") / "small"
    return write_collection(folder, [*documents, *islice(others, 170)], topics[topics["qid"].isin(qrels["qid"])], qrels)


@pytest.fixture(scope="session")
def documents(collection: Collection) -> list[dict[str, str | None]]:
    """The documents of the collection, and two without text."""
    kept = [{"docno": document["docno"], "text": document["text"]} for document in collection.get_corpus_iter()]
    return [{"docno": "none", "text": None}, *kept, {"docno": "blank", "text": " "}]


@pytest.fixture(scope="session")
def index(
    model: ColbertModel, documents: list[dict[str, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> PlaidIndex:
    return model.indexer(tmp_path_factory.mktemp("indexes") / "plaid", nbits=8).index(documents)


def test_a_run_agrees_with_exhaustive_scoring(
    index: PlaidIndex, model: ColbertModel, collection: Collection, documents: list[dict[str, str | None]]
) -> None:
    topics = collection.topics().head(5)
    run = model.retriever(index, 20)(topics)
    assert run.groupby("qid").size().tolist() == [20] * 5
    pairs = topics.merge(pd.DataFrame(documents), how="cross")
    exact = model.scorer()(pairs)
    joined = run.merge(exact, on=["qid", "docno"])
    assert len(joined) == len(run)
    differences = (joined["score_x"] / joined["score_y"] - 1).abs()
    assert differences.mean() < 0.005  # of compression
    assert differences.max() < 0.05
    best = exact[exact["rank"] < 20]
    assert len(run.merge(best, on=["qid", "docno"])) >= 0.8 * len(run)
    assert not run["docno"].isin(["none", "blank"]).any()


def test_it_finds_the_relevant_documents(index: PlaidIndex, model: ColbertModel, collection: Collection) -> None:
    table = pt.Experiment([model.retriever(index)], collection.topics(), collection.qrels(), [RR])
    assert table["RR"].item() > 0.5  # 0.03 for a random order of 200 documents


def test_the_index_is_an_artifact_that_records_its_model(
    index: PlaidIndex, model: ColbertModel, documents: list[dict[str, str | None]], checkpoint: Path
) -> None:
    loaded = pt.Artifact.load(str(index.path), device="cpu")
    assert loaded == index
    assert hash(loaded) == hash(index)
    assert len(loaded) == len(documents)
    assert loaded.metadata["model"] == str(model)
    assert pickle.loads(pickle.dumps(index)) == index
    assert PlaidIndex(index.path, n_ivf_probe=2) != index
    other = ColbertModel(checkpoint, doc_max_length=16, device="cpu")
    with pytest.raises(ModelMismatchError, match=str(index.path)):
        other.retriever(index).search("a query")


def test_queries_without_text_find_nothing(index: PlaidIndex, model: ColbertModel) -> None:
    queries = pd.DataFrame({"qid": ["1", "2", "3"], "query": ["", "read a file", None]})
    run = model.retriever(index, 5)(queries)
    assert run["qid"].tolist() == ["2"] * 5
    assert run["rank"].tolist() == [0, 1, 2, 3, 4]
    assert model.retriever(index)(queries.iloc[[0]]).empty


def test_the_contract_of_pyterrier(index: PlaidIndex, check_contract: Callable[[pt.Transformer], None]) -> None:
    retriever = index.retriever(3)
    check_contract(retriever)
    copy = pickle.loads(pickle.dumps(retriever))
    assert copy == retriever
    assert hash(copy) == hash(retriever)
    assert index.retriever(2) == (index.retriever(3) % 2).compile()
    schematic = pt.schematic.transformer_schematic(retriever)
    assert schematic["help_url"].endswith("/pyterrier-saesplade/api.html#pyterrier_saesplade.PlaidRetriever")


def test_the_same_documents_make_the_same_index(
    model: ColbertModel, documents: list[dict[str, str | None]], tmp_path: Path
) -> None:
    artifacts = [model.indexer(tmp_path / name).index(documents[:20]) for name in ("one", "two")]
    runs = [model.retriever(index).search("read a file") for index in artifacts]
    pd.testing.assert_frame_equal(*[run[["docno", "score", "rank"]] for run in runs])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert not list(tmp_path.rglob("embeddings.npy"))


def test_one_document_is_enough(model: ColbertModel, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index").index(
        [{"docno": "d", "text": "the only one that there is, of ten tokens"}]
    )
    assert model.retriever(index).search("any")["docno"].tolist() == ["d"]


def test_nothing_is_overwritten_and_an_interrupted_build_leaves_nothing(model: ColbertModel, tmp_path: Path) -> None:
    def interrupted() -> Iterator[dict[str, str]]:
        yield {"docno": "d", "text": "a text"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.indexer(tmp_path / "index").index(interrupted())
    assert not list(tmp_path.iterdir())
    (tmp_path / "index").mkdir()
    with pytest.raises(PathExistsError, match=str(tmp_path / "index")):
        model.indexer(tmp_path / "index").index([{"docno": "d", "text": "a text"}])


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ([], "documents"),
        ([{"docno": "d", "text": None}], "empty"),
        ([{"docno": "d", "text": "a"}], r"\b4\b.*\b10\b"),
        ([{"docno": "d"}], "'d'.*'text'"),
        ([{"docno": "d", "text": "a"}, {"docno": "d", "text": "b"}], "docno 'd'"),
    ],
)
def test_documents_that_cannot_be_indexed(
    given: list[dict[str, str | None]], fact: str, model: ColbertModel, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=fact):
        model.indexer(tmp_path / "index").index(given)
    assert not list(tmp_path.iterdir())


def test_mistakes_are_named(model: ColbertModel, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"nbits .*\b3\b"):
        PlaidIndexer(model, tmp_path, nbits=3)
    with pytest.raises(PathNotFoundError, match=str(tmp_path / "nothing")):
        PlaidIndex(tmp_path / "nothing")
    with pytest.raises(DataError, match=str(tmp_path)):
        PlaidIndex(tmp_path)


def test_the_systems_of_a_comparison(checkpoint: Path, collection: Collection, tmp_path: Path) -> None:
    artifacts = ArtifactCache(Corpus.read(collection), tmp_path / "indexes")
    systems = [Colbert(str(checkpoint)), ColbertReranker(str(checkpoint), depth=10)]
    pipelines = {}
    for system in systems:
        encode, retrieve = system.stages(artifacts)
        pipelines[system.name] = encode >> retrieve
        assert system.qd_flops(artifacts, ["a query"]) is None
        assert str(checkpoint) in system.note
    topics, qrels = collection.topics(), collection.qrels()
    table = pt.Experiment(pipelines, topics, qrels, [RR, "mrt"], validate="error").set_index("name")
    assert (table["RR"] > 0.5).all()
    assert pipelines["colbert-rerank"](topics).groupby("qid").size().max() == 10
    assert systems[0].identity != Colbert(str(checkpoint), doc_max_length=16).identity
