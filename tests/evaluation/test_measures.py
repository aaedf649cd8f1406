"""Measures: QD-FLOPs by hand, measures by name."""

import doctest

import ir_measures
import numpy as np
import pytest

from pyterrier_saesplade import metrics as measures
from pyterrier_saesplade.metrics import DEFAULT_MEASURES, parse_measures, qd_flops


def test_the_docstrings_examples_hold() -> None:
    """The worked examples of the module are run as they stand."""
    results = doctest.testmod(measures)
    assert results.attempted == 3
    assert results.failed == 0


def test_qd_flops_is_the_mean_overlap_of_all_pairs() -> None:
    """The definition by shares equals counting the common latents of every pair."""
    rng = np.random.default_rng(7)
    queries, documents = rng.random((5, 40)) < 0.2, rng.random((9, 40)) < 0.3
    overlap = np.mean([(query & document).sum() for query in queries for document in documents])
    assert qd_flops(queries.sum(0), 5, documents.sum(0), 9) == pytest.approx(overlap, rel=1e-12)


def test_qd_flops_counts_beyond_int32() -> None:
    """Counts of a large collection don't overflow, even when given as int32."""
    counts = np.array([100_000], np.int32)
    assert qd_flops(counts, 100_000, counts, 100_000) == 1.0


def test_qd_flops_refuses_what_has_no_meaning() -> None:
    """No queries, no documents, or two vocabularies."""
    with pytest.raises(ValueError, match="at least one query and one document, not 0 and 4"):
        qd_flops([0], 0, [1], 4)
    with pytest.raises(ValueError, match=r"\(1,\) latents, doc_df over \(2,\)"):
        qd_flops([1], 1, [1, 1], 1)


def test_measures_by_name() -> None:
    """Any ir_measures name; the default ones are among them."""
    assert parse_measures(["AP(rel=2)", "Success@5"]) == [ir_measures.AP(rel=2), ir_measures.Success @ 5]
    assert [str(measure) for measure in parse_measures(DEFAULT_MEASURES)] == ["nDCG@10", "RR@10", "AP", "R@1000"]


@pytest.mark.parametrize("name", ["ndcg10", "nDCG@x", "AP(rel=", "P(foo=2)@10", "P", "P@5 R@10", "mrt", ""])
def test_a_wrong_measure_is_one_line(name: str) -> None:
    """Unknown names, bad syntax, unknown or missing parameters all give the same one-line advice."""
    with pytest.raises(ValueError, match="is no measure: use the names of ir_measures") as error:
        parse_measures(["nDCG@10", name])
    assert "\n" not in str(error.value)


def test_measures_that_cannot_be_reported() -> None:
    """None at all, one twice (by two spellings), one whose provider is missing."""
    with pytest.raises(ValueError, match="at least one measure"):
        parse_measures([])
    with pytest.raises(ValueError, match="AP is given twice"):
        parse_measures(["AP", "AP(rel=1)"])
