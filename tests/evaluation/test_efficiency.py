"""Costs counted by hand, and times of parts that add up."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import RR

from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation import add_efficiency, latency, query_costs
from pyterrier_saesplade.metrics import delta_e, qd_flops
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.vectors import ConceptVectors

TOPICS = pd.DataFrame({"qid": ["a", "b"], "query": ["laminar flow", ""]})


@pytest.fixture(scope="module")
def model(untrained_model: Path) -> SaeSplade:
    return SaeSplade.from_pretrained(untrained_model)


def test_costs_are_counted_from_document_frequencies(model: SaeSplade, tmp_path: Path) -> None:
    latents = model.encode(["laminar flow"], "query").row(0)[0]
    # Three documents: one with all latents of the query, one with its first latent, one with none of them.
    other = int(next(latent for latent in range(512) if latent not in latents))
    rows = [(latents, np.ones(len(latents))), (latents[:1], [1.0]), ([other], [1.0])]
    index = model.indexer(tmp_path / "index", "exact").index_vectors(
        [(["1", "2", "3"], ConceptVectors.from_rows(rows))]
    )
    costs = query_costs(model, index, TOPICS)
    assert costs["latents"].tolist() == [len(latents), 0]
    assert costs["postings"].tolist() == [len(latents) + 1, 0]
    assert costs["qd_flops"].tolist() == [(len(latents) + 1) / 3, 0.0]
    pd.testing.assert_frame_equal(query_costs(model, tmp_path / "index", TOPICS), costs)


def test_columns_are_added_to_an_experiment(model: SaeSplade, small_collection: Collection, tmp_path: Path) -> None:
    index = model.indexer(tmp_path / "index", "exact").index(small_collection.get_corpus_iter())
    topics = small_collection.topics()
    systems = {"first": model.retriever(index) % 1, "concepts": model.retriever(index)}
    results = pt.Experiment(systems, topics, small_collection.qrels(), [RR @ 10], filter_by_qrels=True)
    table = add_efficiency(results, {"concepts": (model, index)}, topics).set_index("name")
    queries = model.encode(topics["query"].tolist(), "query")
    df = np.bincount(queries.latents, minlength=model.width)
    expected = qd_flops(df, len(topics), index.statistics.df, len(index))
    assert table.loc["concepts", "qd_flops"] == pytest.approx(expected)
    assert table.loc["concepts", "postings"] == pytest.approx(expected * len(index))
    assert table.loc["concepts", "delta_e"] == pytest.approx(delta_e(table.loc["concepts", "RR@10"], expected))
    assert table.loc["first", ["qd_flops", "postings", "delta_e"]].isna().all()
    assert "delta_e" not in add_efficiency(results.drop(columns="RR@10"), {"concepts": (model, index)}, topics)
    with pytest.raises(SettingError) as error:
        add_efficiency(results, {"sparse": (model, index)}, topics)
    assert all(name in str(error.value) for name in ("'sparse'", "first", "concepts"))


class Sleeping(pt.Transformer):
    """Sleeps some milliseconds per call and per query."""

    def __init__(self, per_call: float, per_query: float) -> None:
        self.per_call, self.per_query = per_call, per_query

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        time.sleep((self.per_call + self.per_query * len(inp)) / 1000)
        return inp


def test_latency_is_per_query_and_per_part() -> None:
    topics = pd.DataFrame({"qid": [str(i) for i in range(8)], "query": "q"})
    table = latency(
        {"both": (Sleeping(4, 1), Sleeping(0, 6)), "whole": Sleeping(0, 2)}, topics, batch_sizes=(1, 4), rounds=2
    ).set_index(["name", "part", "batch_size"])
    assert table.index.tolist() == [
        *[("both", part, 1) for part in ("encode", "retrieve", "total")],
        ("whole", "total", 1),
        *[("both", part, 4) for part in ("encode", "retrieve", "total")],
        ("whole", "total", 4),
    ]
    # A sleep never ends early. How late it ends depends on the machine.
    for part, size, least in (("encode", 1, 5), ("encode", 4, 2), ("retrieve", 1, 6), ("retrieve", 4, 6)):
        assert table.loc[("both", part, size), "p50"] >= least
    assert (table["p50"] <= table["p95"]).all()
    assert (table["p95"] <= table["p99"]).all()
    total = table.loc[("both", "total", 1), "mean"]
    assert total == pytest.approx(table.loc[("both", "encode", 1), "mean"] + table.loc[("both", "retrieve", 1), "mean"])


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warm_up": 0}, {"batch_sizes": (0,)}])
def test_numbers_must_be_positive(options: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(options))}.*\\b0\\b"):
        latency({"x": Sleeping(0, 0)}, TOPICS, **options)


def test_the_latency_of_no_topics() -> None:
    with pytest.raises(SettingError, match="topics"):
        latency({"x": Sleeping(0, 0)}, TOPICS.head(0))
