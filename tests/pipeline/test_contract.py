"""PyTerrier's contract for every stage: columns, empty frames, equality, pickling, display."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import RR

from pyterrier_saesplade.engines import ConceptIndex
from pyterrier_saesplade.pipeline import LatentWeighting, Prune, Quantizer
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors


def make_index(model: SaeSplade, path: Path) -> ConceptIndex:
    vectors = ConceptVectors.from_rows([([1, 5], [0.3, 0.5]), ([1], [1.26])])
    return model.indexer(path, "exact").index_vectors([(["d1", "d2"], vectors)])


#: A stage, the columns that it takes, and those that it adds.
STAGES: dict[str, tuple[Callable[[SaeSplade, Path], pt.Transformer], list[str], list[str]]] = {
    "doc_encoder": (lambda model, _: model.doc_encoder(), ["docno", "text"], ["toks"]),
    "doc_encoder of a field": (lambda model, _: model.doc_encoder(text_field="body"), ["docno", "body"], ["toks"]),
    "query_encoder": (lambda model, _: model.query_encoder(), ["qid", "query"], ["query_toks"]),
    "query_encoder of results": (lambda model, _: model.query_encoder(), ["qid", "query", "docno"], ["query_toks"]),
    "quantizer": (lambda *_: Quantizer(), ["docno", "toks"], []),
    "quantizer of queries": (lambda *_: Quantizer(100, column="query_toks"), ["qid", "query_toks"], []),
    "prune": (lambda *_: Prune(3), ["docno", "toks"], []),
    "prune by all rules": (lambda *_: Prune(3, max_ratio=0.1, mass=0.9, threshold=0.2), ["docno", "toks"], []),
    "prune of queries": (lambda *_: Prune(3, column="query_toks"), ["qid", "query_toks"], []),
    "weighting": (lambda model, path: LatentWeighting(make_index(model, path)), ["qid", "query_toks"], []),
    "scorer": (lambda model, _: model.scorer(), ["qid", "query", "docno", "text"], ["score", "rank"]),
    "scorer with idf": (
        lambda model, path: model.scorer(statistics=make_index(model, path)),
        ["qid", "query_toks", "docno", "toks"],
        ["score", "rank"],
    ),
}


@pytest.fixture(params=STAGES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_contract_of_pyterrier(
    name: str, model: SaeSplade, tmp_path: Path, check_contract: Callable[[pt.Transformer], None]
) -> None:
    check_contract(STAGES[name][0](model, tmp_path / "index"))


def test_columns_without_loading_the_model(name: str, unloadable: SaeSplade, tmp_path: Path) -> None:
    make, takes, adds = STAGES[name]
    stage = make(unloadable, tmp_path / "index")
    assert sorted(pt.inspect.transformer_outputs(stage, takes)) == sorted(takes + adds)
    out = stage(pd.DataFrame(columns=takes))
    assert len(out) == 0
    assert set(out.columns) == {*takes, *adds}


def test_a_frame_without_the_columns_is_refused(name: str, model: SaeSplade, tmp_path: Path) -> None:
    with pytest.raises(pt.validate.InputValidationError):
        STAGES[name][0](model, tmp_path / "index")(pd.DataFrame({"other": ["x"]}))


def test_equality_hash_and_pickling(name: str, model: SaeSplade, tmp_path: Path) -> None:
    stage = STAGES[name][0](model, tmp_path / "index")
    copy = pickle.loads(pickle.dumps(stage))
    assert copy == stage
    assert hash(copy) == hash(stage)
    assert repr(copy) == repr(stage)
    others = [make(model, tmp_path / f"index {other}") for other, (make, _, _) in STAGES.items()]
    assert sum(stage == other for other in others) == (
        2
        if name in ("query_encoder", "query_encoder of results")
        else 0
        if name in ("weighting", "scorer with idf")
        else 1
    )


def test_the_input_is_not_changed(name: str, model: SaeSplade, tmp_path: Path) -> None:
    make, takes, _ = STAGES[name]
    values = {"toks": {"c1": 0.5, "c2": 0.25}, "query_toks": {"c1": 0.5}}
    frame = pd.DataFrame([{column: values.get(column, "a text") for column in takes}] * 2, index=[7, 3])
    before = frame.copy(deep=True)
    out = make(model, tmp_path / "index")(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert len(out) == 2


def test_schematics_link_to_the_reference(name: str, model: SaeSplade, tmp_path: Path) -> None:
    stage = STAGES[name][0](model, tmp_path / "index")
    schematic = pt.schematic.transformer_schematic(stage)
    assert schematic["help_url"].endswith(f"/pyterrier-saesplade/api.html#pyterrier_saesplade.{type(stage).__name__}")
    assert len(schematic["label"]) <= 20
    assert not schematic.get("inner_pipelines")


def test_repr_is_the_call() -> None:
    assert repr(Quantizer()) == "Quantizer()"
    assert repr(Quantizer(25, column="query_toks")) == "Quantizer(scale=25, column='query_toks')"
    assert repr(Prune(3)) == "Prune(k=3)"
    assert repr(Prune(mass=0.9, column="query_toks", verbose=True)) == "Prune(mass=0.9, column='query_toks')"


@pytest.mark.slow
def test_a_tree_experiment_encodes_queries_once(
    model: SaeSplade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"1": "concepts in retrieval", "2": "music of the spheres"}
    documents = [{"docno": docno, "text": text} for docno, text in texts.items()]
    indexes = [model.indexer(tmp_path / engine, engine).index(documents) for engine in ("terrier", "exact")]
    encoded: list[str | None] = []
    encode = SaeSplade.encode

    def recording(self: SaeSplade, texts: list[str | None], side: str = "doc", **options: object) -> ConceptVectors:
        encoded.extend(texts)
        return encode(self, texts, side, **options)

    monkeypatch.setattr(SaeSplade, "encode", recording)
    topics = pd.DataFrame({"qid": ["q"], "query": ["music"]})
    qrels = pd.DataFrame({"qid": ["q"], "docno": ["2"], "label": [1]})
    again = SaeSplade.from_pretrained(model.source, precision="float32")  # equal, not the same
    systems = [model.retriever(indexes[0]), again.retriever(indexes[1])]
    table = pt.Experiment(systems, topics, qrels, [RR], plan="tree", validate="error")
    assert encoded == ["music"]
    assert len(table) == 2
    assert np.isfinite(table["RR"]).all()
