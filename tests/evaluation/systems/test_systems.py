"""Systems that are made of others, options of systems, and their costs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_saesplade.collections import Collection, open_collection, write_collection
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation import Comparison, evaluate
from pyterrier_saesplade.evaluation.systems import ArtifactCache, Corpus, languages, make_systems
from pyterrier_saesplade.hybrid import WordsAndConcepts
from pyterrier_saesplade.impacts import find_stemmer
from pyterrier_saesplade.saesplade import SaeSplade

pytestmark = pytest.mark.slow

BASELINES = ["bm25", "rm3", "saesplade,k=2", "saesplade,engine=exact", "words+concepts", "sum", "rrf", "feedback"]
NAMES = ["bm25", "rm3", "saesplade-k2", "saesplade-exact", *BASELINES[4:], "saesplade"]


@pytest.fixture(scope="module")
def compared(
    small_collection: Collection, untrained_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Comparison, Path]:
    out = tmp_path_factory.mktemp("comparison") / "out"
    return evaluate(small_collection, untrained_model, out, baselines=BASELINES, measures=["nDCG@10", "R@1000"]), out


def run(out: Path, name: str) -> pd.DataFrame:
    return pt.io.read_results(str(out / "runs" / f"{name}.trec.gz"))


def test_every_system_has_a_row_with_its_costs(compared: tuple[Comparison, Path]) -> None:
    table = compared[0].table.set_index("name")
    assert table.index.tolist() == NAMES
    flops, size, build = table["qd_flops"], table["index_mb"], table["build_seconds"]
    assert (flops > 0).all()
    assert flops["saesplade-k2"] < flops["saesplade"] < flops["feedback"]
    assert flops["sum"] == flops["rrf"] == pytest.approx(flops["bm25"] + flops["saesplade"])
    assert flops["bm25"] < flops["rm3"]
    assert size["sum"] == size["rrf"] == pytest.approx(size["bm25"] + size["saesplade"])
    assert size["feedback"] == size["saesplade"]
    assert size["words+concepts"] > size["saesplade"]
    assert build["sum"] == pytest.approx(build["bm25"] + build["saesplade"])
    apart = table["encode_ms_per_query"].notna()
    assert apart[~apart].index.tolist() == ["sum", "rrf"]  # these encode while they search
    assert (apart == table["retrieve_ms_per_query"].notna()).all()


def test_a_corpus_is_encoded_once_per_model(compared: tuple[Comparison, Path]) -> None:
    """The systems with the model's own k share their vectors. The system with k = 2 has its own."""
    folders = [folder.name.rpartition("-")[0] for folder in (compared[1] / "indexes").iterdir()]
    assert sorted(folders) == [
        "bm25",
        "saesplade",
        "saesplade-exact",
        "saesplade-k2",
        "vectors",
        "vectors",
        "words+concepts",
    ]


def test_options_change_the_system(compared: tuple[Comparison, Path], untrained_model: Path) -> None:
    *_, k2, exact, _, _, _, _, model = make_systems(BASELINES, SaeSplade.from_pretrained(untrained_model))
    assert (k2.model.k, exact.engine, model.engine) == (2, "exact", "terrier")
    out = compared[1]
    assert run(out, "saesplade")["docno"].tolist() != run(out, "saesplade-k2")["docno"].tolist()


def test_fusion_by_hand(compared: tuple[Comparison, Path]) -> None:
    """Scores scaled to 0 to 1 and added, and reciprocal ranks added, over the runs of the parts."""
    out = compared[1]
    parts = []
    for name in ("bm25", "saesplade"):
        part = run(out, name)
        scores = part.groupby("qid")["score"]
        low, high = scores.transform("min"), scores.transform("max")
        parts.append(part.assign(score=(part["score"] - low) / (high - low), rr=1 / (60 + part["rank"])))
    both = pd.concat(parts).groupby(["qid", "docno"])[["score", "rr"]].sum()
    for name, column in (("sum", "score"), ("rrf", "rr")):
        fused = run(out, name).set_index(["qid", "docno"])["score"]
        assert len(fused) == len(both)
        np.testing.assert_allclose(fused, both[column].reindex(fused.index), rtol=0, atol=1e-9)


def test_words_and_concepts_is_the_hybrid_model(
    compared: tuple[Comparison, Path], small_collection: Collection, untrained_model: Path
) -> None:
    """The run is equal to the run of a hybrid model that a user fits."""
    out = compared[1]
    (path,) = (out / "indexes").glob("words+concepts-*/index")
    model = SaeSplade.from_pretrained(untrained_model)
    fitted = WordsAndConcepts.fit(model, small_collection.get_corpus_iter())
    assert WordsAndConcepts.load(path / "words.json", model) == fitted
    topics = small_collection.topics().head(3)
    found = fitted.retriever(path / "index").transform(topics)
    written = run(out, "words+concepts")
    written = written[written["qid"].isin(topics["qid"])]
    assert written["docno"].tolist() == found["docno"].tolist()


def test_texts_are_joined_with_their_own_vectors(
    small_collection: Collection, untrained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the windows in which vectors are stored, the index is equal to the one that the hybrid model builds."""
    monkeypatch.setattr("pyterrier_saesplade.store.encode.WINDOW_DOCUMENTS", 7)
    model = SaeSplade.from_pretrained(untrained_model)
    system, _ = make_systems(["words+concepts"], model)
    path = ArtifactCache(Corpus.read(small_collection), tmp_path / "indexes").path(system)
    both = WordsAndConcepts.fit(model, small_collection.get_corpus_iter())
    expected = both.indexer(tmp_path / "expected").index(small_collection.get_corpus_iter())
    topics = small_collection.topics().head(3)
    pd.testing.assert_frame_equal(both.retriever(path / "index")(topics), both.retriever(expected)(topics))


def test_a_killed_encoding_is_resumed(
    small_collection: Collection, untrained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished parts are not encoded again, and the unfinished folder is not used as a finished one."""
    *_, system = make_systems([], SaeSplade.from_pretrained(untrained_model))
    artifacts = ArtifactCache(Corpus.read(small_collection), tmp_path / "indexes")
    with monkeypatch.context() as patched:
        patched.setattr("pyterrier_saesplade.evaluation.systems.concepts.encode_corpus", _killed)
        with pytest.raises(KeyboardInterrupt):
            artifacts.path(system)
    (left,) = (tmp_path / "indexes").iterdir()
    assert left.name.startswith("vectors-")
    assert (left / "index" / "half").exists()
    (left / "index" / "half").unlink()
    assert len(pt.Artifact.load(str(artifacts.path(system)))) == len(list(small_collection.get_corpus_iter()))
    assert np.isnan(system.build_seconds(artifacts))  # because the time of the killed process is unknown


GERMAN = [
    ("1", "Die Häuser am Fluß wurden überflutet"),
    ("2", "Ein Haus im Gebirge"),
    ("3", "Züge fahren über die Brücke"),
]


def test_words_of_another_language(untrained_model: Path, tmp_path: Path) -> None:
    """Letters beyond ASCII are letters, and words are stemmed, in every system that matches words."""
    folder = tmp_path / "german"
    write_collection(
        folder,
        [{"docno": docno, "text": text} for docno, text in GERMAN],
        pd.DataFrame({"qid": ["q1", "q2", "q3"], "query": ["überfluteten", "Zug?", "Gebirge"]}),
        pd.DataFrame({"qid": ["q1", "q2", "q3"], "docno": ["1", "3", "2"], "label": 1}),
    )
    baselines = ["bm25", "rm3", "words+concepts,balance=1000", "late-interaction"]
    german = open_collection(folder, "de")
    comparison = evaluate(german, untrained_model, tmp_path / "out", baselines=baselines, measures=["RR@10"])
    table = comparison.table.set_index("name")
    assert (table["RR@10"][:4] == 1).all()
    assert table["qd_flops"]["bm25"] == pytest.approx(1 / 3)
    assert "GermanSnowballStemmer, no stop words" in " ".join(comparison.notes)
    english = evaluate(folder, untrained_model, tmp_path / "english", baselines=["bm25"], measures=["RR@10"])
    assert english.table["RR@10"][0] < 1
    chinese = open_collection(folder, "zh")
    for kind in ("bm25", "rm3", "sum", "rrf", "words+concepts", "late-interaction"):
        with pytest.raises(SettingError, match="'zh'"):
            evaluate(chinese, untrained_model, tmp_path / "none", baselines=[kind])
    with pytest.raises(SettingError, match=r"anserini-bm25 .*'de'"):
        evaluate(german, untrained_model, tmp_path / "none", baselines=["anserini-bm25"])


def test_every_language_has_its_stemmers() -> None:
    for code in languages._LANGUAGES:
        terrier, words = languages.language_of(code)
        find_stemmer(words)
        assert terrier is None or pt.java.autoclass(f"org.terrier.terms.{terrier}")(None).stem("information")


def _killed(model: object, collection: object, path: Path) -> None:
    path.mkdir()
    (path / "half").touch()
    raise KeyboardInterrupt


def test_a_hybrid_on_hundreds_of_documents(
    collection_folder: Callable[[str], Path], untrained_model: Path, tmp_path: Path
) -> None:
    """Words and concepts together are better than concepts alone."""
    source = open_collection(collection_folder("cranfield"))
    relevant = set(source.qrels()["docno"])
    documents = sorted(source.get_corpus_iter(), key=lambda document: document["docno"] not in relevant)[:400]
    qrels = source.qrels()[source.qrels()["docno"].isin([document["docno"] for document in documents])]
    collection = write_collection(tmp_path / "collection", documents, source.topics(), qrels)
    comparison = evaluate(
        collection, untrained_model, tmp_path / "out", baselines=["words+concepts"], measures=["nDCG@10"]
    )
    scores = comparison.table.set_index("name")["nDCG@10"]
    assert scores["words+concepts"] > scores["saesplade"]
