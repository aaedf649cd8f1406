"""Measures: QD-FLOPs by hand, measures by name."""

import ir_measures
import numpy as np
import pytest

from pyterrier_saesplade.errors import SettingError
from pyterrier_saesplade.metrics import DEFAULT_MEASURES, parse_measures, qd_flops


def test_qd_flops_is_the_mean_overlap_of_all_pairs() -> None:
    """The definition by shares gives the same number as counting the common latents of every pair."""
    rng = np.random.default_rng(7)
    queries, documents = rng.random((5, 40)) < 0.2, rng.random((9, 40)) < 0.3
    overlap = np.mean([(query & document).sum() for query in queries for document in documents])
    assert qd_flops(queries.sum(0), 5, documents.sum(0), 9) == pytest.approx(overlap, rel=1e-12)


def test_qd_flops_counts_beyond_int32() -> None:
    """The counts of a large collection don't overflow, even when they are int32."""
    counts = np.array([100_000], np.int32)
    assert qd_flops(counts, 100_000, counts, 100_000) == 1.0


def test_qd_flops_need_queries_documents_and_one_vocabulary() -> None:
    with pytest.raises(SettingError, match="0 and 4"):
        qd_flops([0], 0, [1], 4)
    with pytest.raises(SettingError, match="4 and 0"):
        qd_flops([1], 4, [0], 0)
    with pytest.raises(SettingError) as error:
        qd_flops([1], 1, [1, 1], 1)
    assert all(shape in str(error.value) for shape in ("(1,)", "(2,)"))


def test_measures_by_name() -> None:
    """Any name of ir_measures works, and the default measures are such names."""
    assert parse_measures(["AP(rel=2)", "Success@5"]) == [ir_measures.AP(rel=2), ir_measures.Success @ 5]
    assert [str(measure) for measure in parse_measures(DEFAULT_MEASURES)] == ["nDCG@10", "RR@10", "AP", "R@1000"]


@pytest.mark.parametrize("name", ["ndcg10", "nDCG@x", "AP(rel=", "P(foo=2)@10", "P", "P@5 R@10", "mrt", ""])
def test_a_wrong_measure_is_one_line(name: str) -> None:
    """Unknown names, bad syntax, and bad parameters are all reported in one line that names the value."""
    with pytest.raises(SettingError) as error:
        parse_measures(["nDCG@10", name])
    assert repr(name) in str(error.value)
    assert "\n" not in str(error.value)


def test_measures_that_cannot_be_reported() -> None:
    """No measure at all, and one measure given twice, in two spellings."""
    with pytest.raises(SettingError):
        parse_measures([])
    with pytest.raises(SettingError, match=r"\bAP\b"):
        parse_measures(["AP", "AP(rel=1)"])
