"""All engines over the same vectors: those of a random model and, if present, those of SPLADE-v3 on NFCorpus."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pyterrier_saesplade.collections import open_collection
from pyterrier_saesplade.engines import ENGINES, ConceptIndex, ConceptIndexer
from pyterrier_saesplade.formats import import_vectors, read_queries
from pyterrier_saesplade.impacts import Quantization
from pyterrier_saesplade.saesplade import SaeSplade
from pyterrier_saesplade.store import StoredVectors, encode_corpus

pytestmark = pytest.mark.slow

#: The engines that compute dot products of integers exactly.
INTEGER_ENGINES = ("terrier", "pisa", "anserini")

Vectors = tuple[StoredVectors, pd.DataFrame]


@pytest.fixture(scope="module", params=["splade-v3", "ours"])
def vectors(
    request: pytest.FixtureRequest,
    model: SaeSplade,
    collection_folder: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Vectors:
    """A store, and encoded queries. Machines without the vectors of SPLADE-v3 use those of the random model."""
    folder = collection_folder("nfcorpus")
    out = tmp_path_factory.mktemp("vectors") / "store"
    foreign = folder / "splade-v3"
    if request.param == "splade-v3" and foreign.is_dir():
        store = import_vectors(foreign / "docs.jsonl.gz", "jsonl", out, scale=100)
        queries = read_queries(foreign / "queries.jsonl.gz")
        toks = [{term: weight / 100 for term, weight in toks.items()} for toks in queries["query_toks"]]
        return store, queries.assign(query_toks=pd.Series(toks, dtype=object))
    collection = open_collection(folder)
    encoded = encode_corpus(model, collection, out)
    assert encoded is not None
    return encoded, model.query_encoder()(collection.topics())


@pytest.fixture(scope="module")
def build(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ConceptIndex]:
    store, _ = vectors

    def build(engine: str, **settings: Any) -> ConceptIndex:
        return ConceptIndexer(store, tmp_path_factory.mktemp("indexes") / engine, engine, **settings).index(store)

    return build


@pytest.fixture(scope="module")
def exact(build: Callable[..., ConceptIndex]) -> ConceptIndex:
    return build("exact", quantization=Quantization())


@pytest.mark.parametrize("engine", INTEGER_ENGINES)
def test_integers_agree_to_the_last_digit(
    vectors: Vectors, build: Callable[..., ConceptIndex], exact: ConceptIndex, engine: str
) -> None:
    """Every query has the same scores at every rank, and the same documents except where scores tie at the end."""
    _, queries = vectors
    found, expected = (index.retriever(1000)(queries) for index in (build(engine), exact))
    assert found["qid"].tolist() == expected["qid"].tolist()
    np.testing.assert_array_equal(found["score"], expected["score"])
    # Any of the documents that tie with the last score of a query may be in the ranking.
    last = expected.groupby("qid")["score"].transform("min").to_numpy()
    inner = (expected["score"] > last).to_numpy()
    keys = ["qid", "score", "docno"]
    pd.testing.assert_frame_equal(
        found.loc[inner, keys].sort_values(keys).reset_index(drop=True),
        expected.loc[inner, keys].sort_values(keys).reset_index(drop=True),
        check_dtype=False,
    )
    assert inner.sum() > 100 * queries["qid"].nunique()


def test_milvus_agrees_within_rounding(vectors: Vectors, build: Callable[..., ConceptIndex]) -> None:
    """Over floats, each score at each rank is within 1e-4 of that of the exact engine."""
    _, queries = vectors
    found, expected = (build(engine).retriever(1000)(queries) for engine in ("milvus", "exact"))
    assert found["qid"].tolist() == expected["qid"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4)
    both = found.merge(expected, on=["qid", "docno"])
    assert len(both) > 0.999 * len(expected)
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-4)


@pytest.mark.parametrize("engine", ["bmp", "seismic"])
def test_approximate_engines_find_the_best(vectors: Vectors, build: Callable[..., ConceptIndex], engine: str) -> None:
    """They find 98 % of the ten best documents of the exact engine over the same weights, with the same scores."""
    _, queries = vectors
    index = build(engine)
    reference = build("exact", quantization=index.quantization)
    found, expected = (of.retriever(10)(queries) for of in (index, reference))
    both = found.merge(expected, on=["qid", "docno"])
    assert len(both) >= 0.98 * len(expected)
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-6)


def test_every_engine_is_compared() -> None:
    assert {*INTEGER_ENGINES, "exact", "milvus", "bmp", "seismic"} == set(ENGINES)
