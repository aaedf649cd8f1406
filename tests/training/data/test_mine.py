"""Mining from real pipelines, queries made from documents, and a model that is fine-tuned on both."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.collections import Collection, passages_of, read_topics, write_collection
from pyterrier_saesplade.errors import DataError, PathExistsError, SettingError
from pyterrier_saesplade.evaluation.systems import ArtifactCache, Corpus, ResetQueries, TextLoader, make_system
from pyterrier_saesplade.pipeline import Normalise, Standardise
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.training import FinetuneConfig, finetune
from pyterrier_saesplade.training.data import (
    mine,
    pseudo_queries,
    read_distillation,
    with_known_documents,
    write_pseudo_queries,
)


class Pipelines:
    """Retrievers and teachers by name over one collection, as ``saesplade mine`` makes them."""

    def __init__(self, collection: Collection, folder: Path) -> None:
        self.artifacts = ArtifactCache(Corpus.read(collection), folder)

    def retriever(self, name: str, num_results: int) -> pt.Transformer:
        encode, retrieve = make_system(name).stages(self.artifacts)
        return encode >> retrieve % num_results >> ResetQueries()

    def teacher(self, name: str) -> pt.Transformer:
        return make_system(name).scorer(self.artifacts)


@pytest.fixture(scope="module")
def pipelines(judged: Collection, tmp_path_factory: pytest.TempPathFactory) -> Pipelines:
    return Pipelines(judged, tmp_path_factory.mktemp("indexes"))


class Killed(pt.Transformer):
    """A pipeline that is interrupted in its third call."""

    def __init__(self, inner: pt.Transformer) -> None:
        self.inner = inner
        self.calls = 0

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return self.inner.transform(inp)


def read(path: Path) -> tuple[dict[str, object], list[list[object]]]:
    header, *lines = map(json.loads, path.read_text().splitlines())
    return header, lines


@pytest.mark.slow
def test_mining_with_labels(pipelines: Pipelines, judged: Collection, minilm_path: Path, tmp_path: Path) -> None:
    """BM25 retrieves and a bi-encoder scores. The positive comes first, then the others in descending order."""
    teacher = f"dense={minilm_path}"
    out = mine(
        judged.topics().head(12),
        pipelines.retriever("bm25", 8),
        pipelines.teacher(teacher),
        tmp_path / "mined.jsonl",
        qrels=judged.qrels(),
        nway=8,
        names=("bm25", teacher),
    )
    header, lines = read(out)
    assert header["retriever"] == "bm25"
    assert header["teacher"] == teacher
    relevant = dict(zip(judged.qrels()["qid"], judged.qrels()["docno"], strict=True))
    assert [line[0] for line in lines] == judged.topics()["qid"].head(12).tolist()
    for qid, *pairs in lines:
        assert pairs[0][0] == relevant[qid]
        assert 2 <= len(pairs) <= 8
        assert len({docno for docno, _ in pairs}) == len(pairs)
        scores = [score for _, score in pairs[1:]]
        assert scores == sorted(scores, reverse=True)
    texts = {document["docno"]: document["text"] for document in judged.get_corpus_iter()}
    qid, *pairs = lines[0]
    query = judged.topics().set_index("qid").loc[qid, "query"]
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm_path))
    cosines = model.encode([texts[docno] for docno, _ in pairs]) @ model.encode([query])[0]
    expected = (cosines - cosines.mean()) / cosines.std(ddof=1)
    assert [score for _, score in pairs] == pytest.approx(expected.tolist(), abs=1e-3)
    data = read_distillation(out, judged, judged, on_error="raise")
    assert data.scored
    assert data.source["teacher"] == teacher


@pytest.mark.slow
def test_mining_resumes_where_it_was_stopped(pipelines: Pipelines, judged: Collection, tmp_path: Path) -> None:
    topics, bm25 = judged.topics().head(10), pipelines.retriever("bm25", 5)
    teacher = pipelines.teacher("bm25")
    options = {"qrels": judged.qrels(), "nway": 5, "batch_size": 3, "names": ("bm25", "bm25")}
    whole = mine(topics, bm25, teacher, tmp_path / "whole.jsonl", **options)
    out = tmp_path / "mined.jsonl"
    with pytest.raises(KeyboardInterrupt):
        mine(topics, Killed(bm25), teacher, out, **options)
    assert not out.exists()
    partial = tmp_path / "mined.jsonl.partial"
    assert len(partial.read_text().splitlines()) == 7
    with partial.open("a") as file:
        file.write('["half a li')
    with pytest.raises(SettingError, match=re.escape(str(partial))):
        mine(topics, bm25, teacher, out, **(options | {"nway": 4}))
    with pytest.raises(SettingError, match=re.escape(str(partial))):
        mine(judged.topics().tail(10), bm25, teacher, out, **options)
    mine(topics, bm25, teacher, out, **options)
    assert out.read_bytes() == whole.read_bytes()
    assert not partial.exists()
    with pytest.raises(PathExistsError, match=re.escape(str(out))):
        mine(topics, bm25, teacher, out, **options)


@pytest.mark.slow
def test_mining_without_labels_and_queries_that_find_nothing(pipelines: Pipelines, tmp_path: Path) -> None:
    """The first document of the teacher is the positive. The file records why a query is left out."""
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["array of numbers", "xyzzyx"]})
    out = mine(topics, pipelines.retriever("bm25", 6), pipelines.teacher("bm25"), tmp_path / "m.jsonl", nway=6)
    _, (first, second) = read(out)
    scores = [score for _, score in first[1:]]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert second == {"qid": "2", "left out": "fewer than two candidates"}
    unjudged = pd.DataFrame({"qid": ["9"], "docno": ["x"], "label": [1]})
    union = pipelines.retriever("bm25", 6) | pipelines.retriever("bm25", 6)  # without a rank
    mine(topics, union, pipelines.teacher("bm25"), out, qrels=unjudged, overwrite=True)
    assert read(out)[1] == [{"qid": qid, "left out": "no relevant document"} for qid in ("1", "2")]
    judged = pd.DataFrame({"qid": ["1"], "docno": [first[-1][0]], "label": [1]})
    mine(topics, pipelines.retriever("bm25", 6), pipelines.teacher("bm25") % 2, out, qrels=judged, overwrite=True)
    assert read(out)[1][0] == {"qid": "1", "left out": "no relevant document that the teacher scores"}
    judged = pd.DataFrame({"qid": ["1"] * 6, "docno": [docno for docno, _ in first[1:]], "label": [1] * 6})
    mine(topics, pipelines.retriever("bm25", 6), pipelines.teacher("bm25"), out, qrels=judged, overwrite=True)
    assert read(out)[1][0] == {"qid": "1", "left out": "no candidate that is not relevant"}
    with pytest.raises(SettingError, match=r"nway.*\b1\b"):
        mine(topics, pt.Transformer.identity(), pt.Transformer.identity(), tmp_path / "n.jsonl", nway=1)


@pytest.mark.slow
def test_each_system_has_an_index_of_its_own(
    judged: Collection, collection_folder: Callable[[str], Path], pretrained_path: Path, tmp_path: Path
) -> None:
    """Another model or another collection needs another index."""
    SaeSplade.from_pretrained(pretrained_path, k=2).save_pretrained(tmp_path / "other")
    pipelines = Pipelines(judged, tmp_path / "indexes")
    sources = (pretrained_path, tmp_path / "other", pretrained_path)
    for name in ("bm25", *(f"saesplade={source}" for source in sources)):
        assert len(pipelines.retriever(name, 5)(judged.topics().head(1))) == 5
    kept = sorted(folder.name.rpartition("-")[0] for folder in (tmp_path / "indexes").iterdir())
    assert kept == sorted(["bm25", f"saesplade-{pretrained_path.name}", "saesplade-other", "vectors", "vectors"])
    folder = write_collection(tmp_path / "one", [{"docno": "d", "text": "sparse"}], judged.topics(), judged.qrels())
    found = Pipelines(folder, tmp_path / "indexes").retriever("bm25", 5)(pt.new.queries(["sparse"]))
    assert found["docno"].tolist() == ["d"]


def test_judgements_of_unknown_documents_are_left_out(judged: Collection, caplog: pytest.LogCaptureFixture) -> None:
    qrels = judged.qrels().head(2)
    unknown = pd.DataFrame({"qid": ["1"], "docno": ["nowhere"], "label": [1]})
    known = with_known_documents(pd.concat([qrels, unknown]), passages_of(judged))
    assert known["docno"].tolist() == qrels["docno"].tolist()
    (warning,) = (record.getMessage() for record in caplog.records if record.name.startswith("pyterrier_saesplade"))
    assert re.search(r"\b1 qrels", warning)


@pytest.mark.slow
def test_pipelines_by_name(
    pipelines: Pipelines, judged: Collection, pretrained_path: Path, minilm_path: Path, splade_path: Path
) -> None:
    topics = judged.topics().head(3)
    saesplade = f"saesplade={pretrained_path}"
    found = pipelines.retriever(f"bm25+{saesplade}", 5)(topics)
    by_bm25 = pipelines.retriever("bm25", 5)(topics)
    deep = pd.concat([pipelines.retriever(name, 1000)(topics) for name in ("bm25", saesplade)])
    by_hand = deep.assign(score=1 / (60 + deep["rank"])).groupby(["qid", "docno"])["score"].sum()
    best = by_hand.groupby("qid", group_keys=False).nlargest(5)
    assert found.sort_values(["qid", "rank"])["score"].tolist() == pytest.approx(best.tolist())
    assert (found.groupby("qid").size() == 5).all()
    assert not found.duplicated(["qid", "docno"]).any()
    punctuated = pt.new.queries(["the elements of an array, in order?"])
    fused = pipelines.retriever(f"bm25+{saesplade}", 5)(punctuated)
    assert not fused.duplicated(["qid", "docno"]).any()
    assert fused["query"].tolist() == punctuated["query"].tolist() * 5
    both_words = f"words+concepts={pretrained_path}"
    late, dense = f"late-interaction={minilm_path}", f"dense={minilm_path}"
    for name in (f"splade={splade_path}", dense, saesplade, f"bm25+{dense}", "rm3", both_words, late):
        scored = pipelines.teacher(name)(by_bm25[["qid", "query", "docno", "score", "rank"]])
        assert len(scored) == len(by_bm25)
        assert scored["score"].std() > 0
    summed = pipelines.teacher("bm25+bm25")(by_bm25)
    standard = Standardise()(pipelines.teacher("bm25")(by_bm25)).set_index(["qid", "docno"])["score"]
    assert summed.set_index(["qid", "docno"])["score"].sub(2 * standard).abs().max() < 1e-9
    with pytest.raises(SettingError, match="feedback"):
        pipelines.teacher(f"feedback={pretrained_path}")


@pytest.mark.slow
def test_a_cross_encoder_is_a_teacher(
    pipelines: Pipelines, judged: Collection, splade_path: Path, tmp_path: Path
) -> None:
    """An untrained classification head on the small backbone. Only its shape matters here."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForSequenceClassification.from_pretrained(splade_path, num_labels=1).save_pretrained(tmp_path / "cross")
    AutoTokenizer.from_pretrained(splade_path).save_pretrained(tmp_path / "cross")
    found = pipelines.retriever("bm25", 4)(judged.topics().head(2))
    scored = pipelines.teacher(f"cross-encoder={tmp_path / 'cross'}")(found)
    assert len(scored) == len(found)
    assert scored["score"].nunique() > 1
    run = pipelines.retriever(f"cross-encoder={tmp_path / 'cross'},depth=3", 5)(judged.topics().head(2))
    assert run.groupby("qid")["rank"].apply(sorted).tolist() == [[0, 1, 2]] * 2


def test_stages_of_pipelines_pass_pyterrier_s_own_tests(judged: Collection, check_contract: object) -> None:
    check_contract(Standardise())  # type: ignore[operator]
    check_contract(Normalise())  # type: ignore[operator]
    loader = TextLoader(passages_of(judged))
    check_contract(loader)  # type: ignore[operator]
    document = next(judged.get_corpus_iter())
    loaded = loader(pd.DataFrame({"docno": ["unknown", document["docno"]]}))
    assert loaded["text"].tolist() == ["", document["text"]]
    one = pd.DataFrame({"qid": ["1"], "query": ["a"], "docno": ["d"], "score": [3.0], "rank": [0]})
    assert Standardise()(one)["score"].tolist() == [0.0]
    assert Normalise()(one)["score"].tolist() == [1.0]


DOCUMENTS = [
    {
        "docno": "1",
        "title": "Sparse retrieval",
        "text": "Sparse retrieval. Inverted indexes hold postings of rare latents.",
    },
    {
        "docno": "2",
        "text": "Pasta is cooked in boiling water. The water must be salted well before. Then it is served.",
    },
    {"docno": "3", "text": "too short"},
]


def test_queries_are_made_from_documents(tmp_path: Path) -> None:
    made = pseudo_queries(DOCUMENTS, 40, kinds=["titles", "sentences", "keywords", "spans"], seed=1)
    assert len(made) == len(set(made["qid"])) == 40
    assert set(made["made_from"]) == {"1", "2"}
    texts = {document["docno"]: document["text"] for document in DOCUMENTS}
    for qid, query, docno in made.itertuples(index=False):
        kind = qid.split("-")[0]
        if kind == "titles":
            assert query in ("Sparse retrieval", "Pasta is cooked in boiling water.")
        elif kind == "sentences":
            assert query in texts[docno]
        elif kind == "keywords":
            assert set(query.split()) <= set(texts[docno].lower().replace(".", "").split())
            assert 1 <= len(query.split()) <= 8
        else:
            assert query in texts[docno].replace(".", "")
            assert 5 <= len(query.split()) <= 14
    again = pseudo_queries(iter(DOCUMENTS), 40, kinds=["titles", "sentences", "keywords", "spans"], seed=1)
    pd.testing.assert_frame_equal(made, again)
    write_pseudo_queries(DOCUMENTS, tmp_path / "pseudo.tsv", 9)
    assert len(read_topics(tmp_path / "pseudo.tsv")) == 9
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / "pseudo.tsv"))):
        write_pseudo_queries(DOCUMENTS, tmp_path / "pseudo.tsv", 9)
    with pytest.raises(SettingError, match=r"kinds.*titles.*poems"):
        pseudo_queries(DOCUMENTS, 1, kinds=["poems"])  # type: ignore[list-item]
    odd = [{"docno": "1", "title": "two\twords \n", "text": "a b c d e f g"}]
    assert pseudo_queries(odd, 1, kinds=["titles"])["query"].tolist() == ["two words"]
    with pytest.raises(DataError, match="keywords"):
        pseudo_queries(odd, 1, kinds=["keywords"])
    with pytest.raises(DataError, match="words"):
        pseudo_queries(DOCUMENTS[2:], 1)


@pytest.mark.slow
def test_without_a_label_from_documents_to_model(
    pipelines: Pipelines, judged: Collection, minilm_path: Path, pretrained_path: Path, tmp_path: Path
) -> None:
    topics = pseudo_queries(judged.get_corpus_iter(), 24)
    teacher = pipelines.teacher(f"bm25+dense={minilm_path}")
    mined = mine(topics, pipelines.retriever("bm25", 8), teacher, tmp_path / "mined.jsonl", nway=8)
    data = read_distillation(mined, judged, topics)
    config = FinetuneConfig(steps=4, batch_queries=4, nway=4, log_steps=1)
    out = finetune(pretrained_path, data, tmp_path / "model", config)
    log = [entry for entry in json.loads((out / "training.json").read_text())["log"] if "kl" in entry]
    assert all(0 < entry["kl"] < 5 for entry in log)
