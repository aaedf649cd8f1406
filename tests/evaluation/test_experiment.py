"""A comparison with real engines and models. Its figures are checked against independent computations."""

import gzip
import json
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.collections import Collection, write_collection
from pyterrier_saesplade.engines import TerrierConceptIndex
from pyterrier_saesplade.errors import DataError, MissingPackageError, PathExistsError, PathNotFoundError, SettingError
from pyterrier_saesplade.evaluation import Comparison, evaluate
from pyterrier_saesplade.evaluation.experiment import RESULTS
from pyterrier_saesplade.evaluation.systems import ArtifactCache, ConceptSystem, Corpus, IndexedSystem, make_systems
from pyterrier_saesplade.evaluation.systems.stages import search
from pyterrier_saesplade.evaluation.systems.words import Bm25
from pyterrier_saesplade.impacts import Quantization, find_stemmer
from pyterrier_saesplade.saesplade import SaeSplade

SYSTEMS = ["bm25", "dense", "saesplade"]
MEASURES = ["nDCG@10", "AP(rel=2)", "R@1000"]
COSTS = ["qd_flops", "index_mb", "mrt", "encode_ms_per_query", "retrieve_ms_per_query", "build_seconds"]


@pytest.fixture(scope="module")
def compared(
    small_collection: Collection,
    untrained_model: Path,
    splade_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Comparison, Path]:
    """One comparison with every kind of baseline, and its folder."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    baselines = ["bm25", "dense", f"splade={splade_path}"]
    return evaluate(small_collection, untrained_model, out, baselines=baselines, measures=MEASURES), out


def results(out: Path) -> list[dict[str, object]]:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_results_have_the_promised_schema(compared: tuple[Comparison, Path]) -> None:
    _, out = compared
    objects = results(out)
    assert [system["name"] for system in objects] == ["bm25", "dense", "splade", "saesplade"]
    for system in objects:
        assert list(system) == ["name", *MEASURES, *COSTS]
        assert all(isinstance(system[column], float) for column in [*MEASURES, *COSTS] if column != "qd_flops")
        assert all(0 <= system[measure] <= 1 for measure in MEASURES)
        assert (system["qd_flops"] is None) == (system["name"] == "dense")
    assert sorted(path.name for path in out.iterdir()) == [
        "about.json",
        "indexes",
        "perquery.csv",
        "results.csv",
        "results.json",
        "results.png",
        "runs",
    ]
    pd.testing.assert_frame_equal(pd.read_csv(out / "results.csv"), pd.DataFrame(objects), check_dtype=False)
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_runs_give_the_measures(compared: tuple[Comparison, Path], small_collection: Collection) -> None:
    """ir_measures computes the figures of the table from the run files. Queries without judgements are not run."""
    _, out = compared
    qrels = small_collection.qrels().rename(columns={"qid": "query_id", "docno": "doc_id", "label": "relevance"})
    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    for system in results(out):
        path = out / "runs" / f"{system['name']}.trec.gz"
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = [line.split() for line in file]
        assert {line[5] for line in lines} == {system["name"]}
        assert {line[0] for line in lines} <= set(qrels["query_id"])
        run = [ir_measures.ScoredDoc(line[0], line[2], float(line[4])) for line in lines]
        for measure, value in ir_measures.calc_aggregate(measures, qrels, run).items():
            assert system[str(measure)] == pytest.approx(value, abs=1e-9), (system["name"], measure)


@pytest.mark.slow
def test_values_of_queries(compared: tuple[Comparison, Path], small_collection: Collection) -> None:
    """One line per system, judged query and measure. The means are in the table, and ir_measures gives the values."""
    _, out = compared
    values = pd.read_csv(out / "perquery.csv", dtype={"qid": str})
    assert list(values) == ["name", "qid", "measure", "value"]
    judged = [qid for qid in small_collection.topics()["qid"] if qid != "unjudged"]
    systems = results(out)
    assert len(values) == len(systems) * len(judged) * len(MEASURES)
    assert values["qid"].drop_duplicates().tolist() == judged
    means = values.groupby(["name", "measure"])["value"].mean()
    for system in systems:
        for measure in MEASURES:
            assert means[system["name"], measure] == pytest.approx(system[measure], abs=1e-12)
    qrels = small_collection.qrels().rename(columns={"qid": "query_id", "docno": "doc_id", "label": "relevance"})
    run = list(ir_measures.read_trec_run(str(out / "runs" / "saesplade.trec.gz")))
    ours = values[values["name"] == "saesplade"].set_index(["qid", "measure"])["value"]
    for metric in ir_measures.iter_calc([ir_measures.parse_measure(name) for name in MEASURES], qrels, run):
        assert ours[metric.query_id, str(metric.measure)] == pytest.approx(metric.value, abs=1e-9)


@pytest.mark.slow
def test_the_origin_of_the_figures(compared: tuple[Comparison, Path], untrained_model: Path) -> None:
    comparison, out = compared
    about = json.loads((out / "about.json").read_text(encoding="utf-8"))
    assert about["title"] == comparison.title
    assert about["title"].startswith(f"{about['collection']}: {about['n_docs']} documents, {about['n_queries']} judged")
    assert (about["measures"], about["notes"], about["command"]) == (MEASURES, comparison.notes, None)
    assert {"python", "python-terrier", "torch", "transformers", "terrier"} <= about["versions"].keys()
    assert datetime.fromisoformat(about["date"]).tzinfo is not None
    systems = about["settings"]["systems"]
    assert list(systems) == ["bm25", "dense", "splade", "saesplade"]
    assert SaeSplade.from_pretrained(untrained_model).fingerprint in systems["saesplade"][0]


@pytest.fixture(scope="module")
def arguments_collection(small_collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A collection like ArguAna: each query is a document with the same identifier, and another one is relevant."""
    documents = list(small_collection.get_corpus_iter())
    topics = pd.DataFrame({"qid": [d["docno"] for d in documents[:5]], "query": [d["text"] for d in documents[:5]]})
    qrels = pd.DataFrame({"qid": topics["qid"], "docno": [d["docno"] for d in documents[5:10]], "label": 1})
    return write_collection(tmp_path_factory.mktemp("collections") / "arguments", documents, topics, qrels)


#: Systems that learn from results, or normalise their scores: these change without a query's own document.
OTHERWISE = {"rm3", "feedback", "sum", "rrf"}


@pytest.mark.slow
def test_a_query_does_not_find_itself(arguments_collection: Collection, untrained_model: Path, tmp_path: Path) -> None:
    """The run is the other run without the query's own document, except for systems that learn from results."""
    runs = {}
    names = ["bm25", "rm3", "dense", "words+concepts", "sum", "rrf", "feedback", "late-interaction", "saesplade"]
    for ignore_identical_ids in (False, True):
        out = tmp_path / str(ignore_identical_ids)
        evaluate(
            arguments_collection,
            SaeSplade.from_pretrained(untrained_model, query_max_length=64),
            out,
            baselines=names[:-1],
            ignore_identical_ids=ignore_identical_ids,
            indexes=tmp_path / "indexes",
        )
        runs[ignore_identical_ids] = {name: pt.io.read_results(str(out / "runs" / f"{name}.trec.gz")) for name in names}
        assert not (out / "indexes").exists()
    for name in names:
        with_own, others = (runs[own][name].sort_values(["qid", "rank"]) for own in (False, True))
        own = with_own[with_own["docno"] == with_own["qid"]]
        assert own["rank"].tolist() == [0] * 5  # otherwise there would be nothing to drop
        assert not (others["docno"] == others["qid"]).any()
        for qid, found in others.groupby("qid"):
            before = with_own[(with_own["qid"] == qid) & (with_own["docno"] != qid)]
            assert found["rank"].tolist() == list(range(len(found)))
            if name in OTHERWISE:
                assert found["score"].tolist() != before["score"].tolist()
            else:
                assert found["docno"].tolist()[: len(before)] == before["docno"].tolist()
                assert len(found) >= len(before)


def test_a_search_keeps_its_depth_without_the_query_s_own_document() -> None:
    def retriever(num_results: int) -> pt.Transformer:
        docnos = [f"d{rank}" for rank in range(20)][:num_results]
        found = pd.DataFrame({"docno": docnos, "score": -np.arange(len(docnos)), "rank": range(len(docnos))})
        return pt.apply.generic(lambda queries: queries.merge(found, how="cross"))

    topics = pd.DataFrame({"qid": ["d0", "d3", "other"], "query": ["", "", ""]})
    run = search(retriever, 4, ignore_identical_ids=True)(topics)
    assert {qid: found["docno"].tolist() for qid, found in run.groupby("qid")} == {
        "d0": ["d1", "d2", "d3", "d4"],
        "d3": ["d0", "d1", "d2", "d4"],
        "other": ["d0", "d1", "d2", "d3"],
    }
    assert run["rank"].tolist() == [0, 1, 2, 3] * 3
    assert search(retriever, 4)(topics)["docno"].tolist() == ["d0", "d1", "d2", "d3"] * 3


@pytest.mark.slow
def test_a_further_query_set(small_collection: Collection, untrained_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_collection.folder, tmp_path / "collection")  # type: ignore[attr-defined]
    (folder / "late").mkdir()
    topics, qrels = small_collection.topics().tail(2), small_collection.qrels()
    (folder / "late" / "queries.tsv").write_text(f"{topics['qid'].iloc[0]}\t{topics['query'].iloc[0]}\n")
    lines = [f"{q} 0 {d} {r}" for q, d, r in qrels.itertuples(index=False) if q == topics["qid"].iloc[0]]
    (folder / "late" / "qrels.txt").write_text("\n".join(lines))
    comparison = evaluate(folder, untrained_model, tmp_path / "out", baselines=[], query_set="late")
    assert comparison.title == "collection/late: 60 documents, 1 judged queries"


class Clock:
    """A clock that advances only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Timed(IndexedSystem):
    """A system whose build and stages advance a clock: 7 s for the index, 3 ms and 5 ms per query."""

    name = note = identity = "timed"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def build(self, artifacts: ArtifactCache, path: Path) -> None:
        path.mkdir()
        self.clock.seconds += 7

    def stages(
        self, artifacts: ArtifactCache, *, ignore_identical_ids: bool = False
    ) -> tuple[pt.Transformer, pt.Transformer]:
        docno = next(artifacts.corpus.documents())["docno"]

        def encode(queries: pd.DataFrame) -> pd.DataFrame:
            self.clock.seconds += 0.003 * len(queries)
            return queries

        def retrieve(queries: pd.DataFrame) -> pd.DataFrame:
            self.clock.seconds += 0.005 * len(queries)
            return queries.assign(docno=docno, score=1.0, rank=0)

        return pt.apply.generic(encode), pt.apply.generic(retrieve)


@pytest.mark.slow
def test_times_of_stages_and_builds(
    compared: tuple[Comparison, Path],
    small_collection: Collection,
    untrained_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``mrt`` is the time of both stages. It is a mean over the judged queries, without the warm-up and the build."""
    clock, indexes = Clock(), shutil.copytree(compared[1] / "indexes", tmp_path / "indexes")
    with monkeypatch.context() as patch:
        for timer in ("time.perf_counter", "timeit.default_timer", "pyterrier._evaluation._exec_tree.timer"):
            patch.setattr(timer, clock)
        comparison = evaluate(
            small_collection,
            untrained_model,
            tmp_path / "out",
            baselines=[Timed(clock)],
            measures=MEASURES,
            indexes=indexes,
        )
    times = comparison.table.set_index("name").loc["timed", ["encode_ms_per_query", "retrieve_ms_per_query", "mrt"]]
    assert times.tolist() == pytest.approx([3, 5, 8])
    assert comparison.table.set_index("name").loc["timed", "build_seconds"] == pytest.approx(7)


@pytest.mark.slow
def test_every_system_has_its_times(compared: tuple[Comparison, Path]) -> None:
    _, out = compared
    for system in results(out):
        parts = system["encode_ms_per_query"], system["retrieve_ms_per_query"]
        assert min(parts) > 0
        assert sum(parts) <= system["mrt"]
        assert system["build_seconds"] > 0


@pytest.mark.slow
def test_qd_flops_of_concepts(
    compared: tuple[Comparison, Path], small_collection: Collection, untrained_model: Path
) -> None:
    """They are the mean number of latents that a query and an indexed document share, counted pair by pair."""
    _, out = compared
    model = SaeSplade.from_pretrained(untrained_model)
    topics = small_collection.topics()
    queries = model.encode(topics[topics["qid"] != "unjudged"]["query"].tolist(), side="query")
    documents = model.encode([document["text"] for document in small_collection.get_corpus_iter()], side="doc")
    impacts = np.floor(documents.to_csr(512).toarray().astype(np.float64) * 10 + 0.5)
    shared = (queries.to_csr(512).toarray() > 0).astype(int) @ (impacts > 0).astype(int).T
    assert results(out)[-1]["qd_flops"] == pytest.approx(shared.mean(), rel=1e-3)


@pytest.mark.slow
def test_qd_flops_and_scores_of_words(tmp_path: Path) -> None:
    """BM25 has k1 = 0.9 and b = 0.4. QD-FLOPs count distinct stems, without stop words."""
    texts = ["apples, apple, apple: bananas and cherries", "the apple and a banana", "zebra lions", "zebra", "lynx"]
    texts.append("lion")
    documents = [{"docno": f"d{i}", "text": text} for i, text in enumerate(texts)]
    queries = ["What is an apple? (apples)", "the lion or the dragon"]
    topics = pd.DataFrame({"qid": ["a", "b"], "query": queries})
    qrels = pd.DataFrame({"qid": ["a", "b"], "docno": ["d0", "d2"], "label": [1, 1]})
    collection = write_collection(tmp_path / "collection", documents, topics, qrels)
    words, artifacts = Bm25(), ArtifactCache(Corpus.read(collection), tmp_path / "indexes")

    # One query has appl, the other lion (dragon is in no document). Each is in 2 of the 6 documents.
    assert words.qd_flops(artifacts, queries) == pytest.approx(0.5 * 2 / 6 + 0.5 * 2 / 6)

    encode, retrieve = words.stages(artifacts)
    run = (encode >> retrieve)(topics.head(1))
    idf = np.log2((6 - 2 + 0.5) / (2 + 0.5))
    lengths, mean = {"d0": 5, "d1": 2}, 12 / 6
    for docno, tf in (("d0", 3), ("d1", 1)):
        # The query has appl twice, but Terrier divides a query's weights by the largest one.
        expected = idf * tf * 1.9 / (tf + 0.9 * (0.6 + 0.4 * lengths[docno] / mean))
        assert run.set_index("docno")["score"][docno] == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_indexes_are_used_again_and_results_are_not_overwritten(
    compared: tuple[Comparison, Path],
    small_collection: Collection,
    untrained_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second run builds no index again. Results are replaced only with ``overwrite``."""
    comparison, first = compared
    out = shutil.copytree(first, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    with pytest.raises(PathExistsError, match=re.escape(str(out / "results.json"))):
        evaluate(small_collection, untrained_model, out, baselines=["bm25"])
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}

    (out / "runs" / "of-another.trec").write_text("kept", encoding="utf-8")
    stale = (out / "runs" / "bm25.trec.gz").stat().st_mtime_ns
    again = evaluate(small_collection, untrained_model, out, baselines=["bm25"], measures=MEASURES, overwrite=True)
    assert again.index.relative_to(out) == comparison.index.relative_to(first)
    old = comparison.table.set_index("name").loc[["bm25", "saesplade"]]
    for column in [*MEASURES, "qd_flops", "index_mb", "build_seconds"]:
        assert again.table.set_index("name")[column].tolist() == old[column].tolist(), column
    assert (out / "runs" / "of-another.trec").read_text(encoding="utf-8") == "kept"
    assert (out / "runs" / "bm25.trec.gz").stat().st_mtime_ns > stale
    dense = out / "runs" / "dense.trec.gz"
    assert dense.stat().st_mtime_ns == before[dense]
    kept = [folder.name.rpartition("-")[0] for folder in (out / "indexes").iterdir()]
    assert sorted(kept) == ["bm25", "dense", "saesplade", "splade", "vectors", "vectors"]


@pytest.mark.parametrize("name", RESULTS)
def test_existing_results_are_not_replaced(name: str, small_collection: Collection, tmp_path: Path) -> None:
    """Every result is checked before anything else is done."""
    (tmp_path / name).mkdir()
    with pytest.raises(PathExistsError, match=re.escape(str(tmp_path / name))):
        evaluate(small_collection, "nowhere", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_identity_has_the_defaults_of_an_index(untrained_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with another quantisation or weighting is not used again."""
    model = SaeSplade.from_pretrained(untrained_model)
    usual = ConceptSystem("saesplade", model).identity
    with monkeypatch.context() as other:
        other.setattr(TerrierConceptIndex, "default_quantization", Quantization(scale=20))
        rescaled = ConceptSystem("saesplade", model).identity
    with monkeypatch.context() as other:
        other.setattr(SaeSplade, "weighting", "none")
        unweighted = ConceptSystem("saesplade", model).identity
    assert len({usual, rescaled, unweighted}) == 3


def test_docnos_beyond_the_basic_plane(tmp_path: Path) -> None:
    """Java counts such a character as two. The index of BM25 must reserve that length."""
    topics = pd.DataFrame({"qid": ["a"], "query": ["zebra"]})
    qrels = pd.DataFrame({"qid": ["a"], "docno": ["🦓🦓🦓"], "label": [1]})
    collection = write_collection(tmp_path / "collection", [{"docno": "🦓🦓🦓", "text": "zebra"}], topics, qrels)
    assert Corpus.read(collection).docno_length == 6


@pytest.mark.slow
def test_a_changed_document_needs_another_index(
    small_collection: Collection, untrained_model: Path, compared: tuple[Comparison, Path], tmp_path: Path
) -> None:
    """After a change of one text, no index of the old documents is used."""
    _, first = compared
    documents = list(small_collection.get_corpus_iter())
    changed = [*documents[:-1], documents[-1] | {"text": documents[-1]["text"] + " x"}]
    assert Corpus.read(small_collection).digest == Corpus.read(small_collection).digest
    other = write_collection(tmp_path / "other", changed, small_collection.topics(), small_collection.qrels())
    assert Corpus.read(other).digest != Corpus.read(small_collection).digest
    path = ArtifactCache(Corpus.read(other), tmp_path / "indexes").path(Bm25())
    assert path.parent.name not in {path.name for path in (first / "indexes").iterdir()}


def test_a_failed_build_leaves_nothing(small_collection: Collection, tmp_path: Path) -> None:
    """A failed build leaves no folder that a second run could take for an index."""

    class Breaking(Bm25):
        def build(self, indexes: ArtifactCache, path: Path) -> None:
            path.mkdir()
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        ArtifactCache(Corpus.read(small_collection), tmp_path / "indexes").path(Breaking())
    assert list((tmp_path / "indexes").iterdir()) == []


def test_errors_are_raised_before_anything_is_built(
    small_collection: Collection, untrained_model: Path, tmp_path: Path
) -> None:
    """The errors name the wrong value and, where there are some, the valid values."""
    out = tmp_path / "out"
    for options, facts in (
        ({"baselines": ["bm42"]}, ["'bm42'", "bm25", "splade=CHECKPOINT"]),
        ({"baselines": ["splade="]}, ["'splade='", "splade=CHECKPOINT"]),
        ({"baselines": ["bm25=x"]}, ["'bm25=x'"]),
        ({"baselines": ["saesplade,z=5"]}, ["'saesplade,z=5'", "'z=5'", "k=VALUE"]),
        ({"baselines": ["saesplade,engine=lemur"]}, ["'lemur'", "exact"]),
        ({"baselines": ["saesplade,k=0"]}, ["k", "'0'"]),
        ({"baselines": ["words+concepts,balance=x"]}, ["balance", "'x'"]),
        ({"baselines": ["words+concepts,balance=-1"]}, ["balance", "-1"]),
        ({"baselines": ["bm25", "bm25"]}, ["bm25"]),
        ({"measures": ["nDCG@10", "speed"]}, ["'speed'"]),
    ):
        with pytest.raises(SettingError) as error:
            evaluate(small_collection, untrained_model, out, **options)
        assert all(fact in str(error.value) for fact in facts), error.value
    for kind in ("dense", "late-interaction", "saesplade", "splade"):
        with pytest.raises(PathNotFoundError, match=r"\bnowhere\b"):
            evaluate(small_collection, untrained_model, out, baselines=[f"{kind}=nowhere"])
    assert not out.exists()


def test_words_need_a_stemmer_before_anything_is_built(
    small_collection: Collection, untrained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    find_stemmer.cache_clear()
    with pytest.raises(MissingPackageError, match=r"pip install 'pyterrier_saesplade\[words\]'"):
        evaluate(small_collection, untrained_model, tmp_path / "out", baselines=["words+concepts"])
    assert not (tmp_path / "out").exists()


def test_collections_that_cannot_be_evaluated(
    small_collection: Collection, untrained_model: Path, tmp_path: Path
) -> None:
    """No judged query, no documents, or a docno with a blank (which only a folder checks when it is read)."""
    empty = pd.DataFrame({"qid": [], "docno": [], "label": []})
    documents = small_collection.get_corpus_iter()
    unjudged = write_collection(tmp_path / "unjudged", documents, small_collection.topics(), empty)
    with pytest.raises(DataError, match=r"\bunjudged\b"):
        evaluate(unjudged, untrained_model, tmp_path / "out", baselines=[])
    none = write_collection(tmp_path / "none", [], small_collection.topics(), small_collection.qrels())
    with pytest.raises(DataError, match=r"\bnone\b"):
        evaluate(none, untrained_model, tmp_path / "out", baselines=[])

    class Blank(type(small_collection)):  # type: ignore[misc]
        def get_corpus_iter(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            yield {"docno": "a b", "text": "text"}

    with pytest.raises(DataError, match=r"docno.*'a b'"):
        evaluate(Blank(small_collection.folder), untrained_model, tmp_path / "out", baselines=[])
    assert not (tmp_path / "out").exists()


def test_dense_follows_the_model(untrained_model: Path, splade_path: Path) -> None:
    """The dense baseline has the backbone and the length of the model. A SPLADE model has no such backbone."""
    dense, _ = make_systems(["dense"], SaeSplade.from_pretrained(untrained_model))
    assert (dense.backbone, dense.max_length) == (str(splade_path), 64)
    assert dense.encoder.model.max_seq_length == 64
    shorter, _ = make_systems(["dense"], SaeSplade.from_pretrained(untrained_model, doc_max_length=32))
    assert shorter.max_length == 32
    assert shorter.identity != dense.identity
    with pytest.raises(SettingError, match="dense=NAME"):
        make_systems(["dense"], SaeSplade.from_splade(splade_path))


@pytest.mark.slow
def test_the_two_stages_retrieve_what_the_model_retrieves(
    compared: tuple[Comparison, Path], small_collection: Collection, untrained_model: Path
) -> None:
    """The run of the two timed stages is equal to the run of ``model.retriever(index)``."""
    comparison, out = compared
    topics = small_collection.topics()
    topics = topics[topics["qid"] != "unjudged"]
    run = SaeSplade.from_pretrained(untrained_model).retriever(pt.Artifact.load(str(comparison.index)))(topics)
    written = pt.io.read_results(str(out / "runs" / "saesplade.trec.gz"))
    columns = ["qid", "docno", "score", "rank"]
    pd.testing.assert_frame_equal(written[columns], run[columns].reset_index(drop=True), check_dtype=False)


def test_several_splade_checkpoints(untrained_model: Path, splade_path: Path, tmp_path: Path) -> None:
    """Each is named after its folder. A single checkpoint is not."""
    other = tmp_path / "other"
    other.symlink_to(splade_path)
    model = SaeSplade.from_pretrained(untrained_model)
    splade = SaeSplade.from_splade(splade_path)
    one, two = f"splade={splade_path}", f"splade={other}"
    for baselines, compared, names in (
        ([one], model, ["splade", "saesplade"]),
        ([one, two], model, [f"splade-{splade_path.name}", "splade-other", "saesplade"]),
        (["bm25", two], splade, ["bm25", "splade-other", "splade"]),
    ):
        assert [system.name for system in make_systems(baselines, compared)] == names
    with pytest.raises(SettingError, match=r"\bsplade\b"):
        make_systems([one, one], model)


def test_names_of_rows_show_what_distinguishes_them(untrained_model: Path, minilm_path: Path) -> None:
    model = SaeSplade.from_pretrained(untrained_model)
    baselines = ["dense", f"dense={minilm_path}", f"dense={minilm_path},doc_max_length=64", "late-interaction"]
    baselines += ["late-interaction,depth=20", "words+concepts", "words+concepts,balance=4", "saesplade,engine=exact"]
    called = f"dense-{minilm_path.name}"
    assert [system.name for system in make_systems(baselines, model)] == [
        *("dense", called, f"{called}-doc64", "late-interaction", "late-interaction-depth20"),
        *("words+concepts", "words+concepts-balance4", "saesplade-exact", "saesplade"),
    ]


def test_settings_identify_what_is_computed(untrained_model: Path, splade_path: Path, tmp_path: Path) -> None:
    """Another place of a model changes nothing. Another k, balance, depth or length of queries does."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(untrained_model)
    baselines = [
        "bm25",
        "rm3",
        f"splade={splade_path}",
        "words+concepts",
        "sum",
        "feedback",
        "late-interaction,depth=9",
    ]
    known = {}
    for source, options in (
        (untrained_model, {}),
        (elsewhere, {"device": "cpu"}),
        (elsewhere, {"query_max_length": 9}),
    ):
        systems = make_systems(baselines, SaeSplade.from_pretrained(source, **options))
        known[source, len(options), "device" in options] = {system.name: system.settings for system in systems}
    first, again, other = known.values()
    assert again == first
    changed = [name for name in first if first[name] != other[name]]
    assert changed == ["splade", "words+concepts", "sum", "feedback", "late-interaction-depth9", "saesplade"]
    model = SaeSplade.from_pretrained(untrained_model)
    for one, two in (("saesplade,k=2", "saesplade,k=3"), ("words+concepts,balance=1", "words+concepts,balance=2")):
        assert make_systems([one], model)[0].settings != make_systems([two], model)[0].settings


def test_lengths_of_the_model_hold_for_all(untrained_model: Path, splade_path: Path, minilm_path: Path) -> None:
    """ArguAna needs this, with queries of 256 word pieces. A system's own options go before."""
    model = SaeSplade.from_pretrained(untrained_model, doc_max_length=96, query_max_length=48)
    baselines = [f"splade={splade_path}", f"saesplade={untrained_model},query_max_length=32", "saesplade,k=2"]
    splade, own, other_k, _ = make_systems(baselines, model)
    lengths = [(one.model.doc_max_length, one.model.query_max_length) for one in (splade, own, other_k)]
    assert lengths == [(96, 48), (96, 32), (96, 48)]
    assert (splade.name, own.name) == ("splade", f"saesplade-{untrained_model.name}-query32")
    for name in ("late-interaction", f"late-interaction={minilm_path}"):
        late, _ = make_systems([name], model)
        assert (late.text_scorer().doc_max_length, late.text_scorer().query_max_length) == (96, 48)
    assert [make_systems([name], model)[0].max_length for name in ("dense", f"dense={minilm_path}")] == [96, 96]
    (pt_splade, _) = make_systems([f"pt-splade={splade_path}"], model)
    assert (pt_splade.name, pt_splade.queries.max_length) == ("pt-splade", 96)
    assert make_systems([f"splade={splade_path}"], SaeSplade.from_pretrained(untrained_model))[0].model == (
        SaeSplade.from_splade(splade_path)
    )


def test_baselines_is_a_list(untrained_model: Path) -> None:
    model = SaeSplade.from_pretrained(untrained_model)
    with pytest.raises(SettingError, match=r"baselines.*\['bm25'\]"):
        make_systems("bm25", model)
