"""Late interaction as a system of a comparison."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from ir_measures import RR

from pyterrier_saesplade.baselines import LateInteraction
from pyterrier_saesplade.collections import Collection
from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.evaluation.systems import ArtifactCache, Corpus
from pyterrier_saesplade.evaluation.systems.late_interaction import LateInteractionSystem
from pyterrier_saesplade.evaluation.systems.words import Bm25

pytestmark = pytest.mark.slow


@pytest.fixture
def system(minilm_path: Path) -> LateInteractionSystem:
    return LateInteractionSystem(str(minilm_path), depth=10, doc_max_length=64)


def test_a_run_is_the_top_results_of_bm25_scored_again(
    system: LateInteractionSystem, small_collection: Collection, minilm_path: Path, tmp_path: Path
) -> None:
    artifacts = ArtifactCache(Corpus.read(small_collection), tmp_path / "indexes")
    encode, retrieve = system.stages(artifacts)
    topics = small_collection.topics()
    run = (encode >> retrieve)(topics)

    _, bm25 = Bm25().stages(artifacts)
    first = (bm25 % 10)(topics)
    assert set(zip(run["qid"], run["docno"], strict=True)) == set(zip(first["qid"], first["docno"], strict=True))
    texts = pd.DataFrame(artifacts.corpus.documents())
    pairs = run[["qid", "docno"]].merge(topics, on="qid").merge(texts, on="docno")
    expected = LateInteraction(str(minilm_path), doc_max_length=64)(pairs)  # of the original queries
    joined = run.merge(expected, on=["qid", "docno"])
    np.testing.assert_allclose(joined["score_x"], joined["score_y"], atol=1e-5)
    assert (joined["rank_x"] == joined["rank_y"]).all()

    table = pt.Experiment([run], topics, small_collection.qrels(), [RR])
    assert table["RR"].item() > 0.3
    assert system.qd_flops(artifacts, ["a query"]) is None
    assert "over the first 10 results of bm25" in system.note


def test_a_depth_must_be_positive() -> None:
    with pytest.raises(SettingError, match=r"depth.*\b0\b"):
        LateInteractionSystem("model", depth=0)
