"""Quantisation, statistics and pseudo-terms, with exact numbers."""

import math
from pathlib import Path

import numpy as np
import pytest

from pyterrier_saesplade.errors import AlreadyQuantizedError, DataError, SettingError
from pyterrier_saesplade.impacts import LatentStatistics, Quantization, Terms
from pyterrier_saesplade.vectors import ConceptVectors


def test_weights_are_rounded_and_zeros_dropped() -> None:
    assert Quantization(10).quantize_toks({"c1": 0.049, "c2": 0.05, "c3": 0.15, "c4": 1.24, "c5": 0.0}) == {
        "c2": 1,
        "c3": 2,
        "c4": 12,
    }
    vectors = Quantization(10).quantize(ConceptVectors.from_rows([([1, 2], [0.04, 0.26]), ([5], [0.01]), ([7], [3.0])]))
    assert vectors.weights.dtype == np.int32
    assert vectors.indptr.tolist() == [0, 1, 1, 2]
    assert vectors.latents.tolist() == [2, 7]
    assert vectors.weights.tolist() == [3, 30]


def test_weights_beyond_the_ceiling_are_clipped_and_counted() -> None:
    with pytest.warns(UserWarning, match=r"2 of 3 .*\b255\b"):
        assert Quantization(100, clip=255).quantize_toks({"a": 2.55, "b": 2.56, "c": 700.0}) == {
            "a": 255,
            "b": 255,
            "c": 255,
        }


@pytest.mark.parametrize("integers", [{"c1": 3}, {"c1": np.int64(3), "c2": 1}])
def test_integers_are_not_scaled_again(integers: dict[str, int]) -> None:
    with pytest.raises(AlreadyQuantizedError):
        Quantization(10).quantize_toks(integers)


def test_quantised_vectors_are_not_scaled_again() -> None:
    once = Quantization(10).quantize(ConceptVectors.from_rows([([1], [1.0])]))
    with pytest.raises(AlreadyQuantizedError):
        Quantization(10).quantize(once)


def test_empty_vectors_stay_empty() -> None:
    assert Quantization(10).quantize_toks({}) == {}
    assert len(Quantization(10).quantize(ConceptVectors.from_rows([([], [])])).latents) == 0


@pytest.mark.parametrize("scale", [0, -1, math.inf, math.nan])
def test_impossible_scales(scale: float) -> None:
    with pytest.raises(SettingError, match=rf"scale .*{scale}"):
        Quantization(scale)


def test_weights_that_are_not_finite() -> None:
    with pytest.raises(DataError, match="finite"):
        Quantization(10).quantize_toks({"c1": math.nan})


def test_idf_and_counts(tmp_path: Path) -> None:
    statistics = LatentStatistics.empty(4)
    statistics.update(ConceptVectors.from_rows([([0, 2], [1.0, 1.0]), ([2], [1.0])]))
    statistics.update(ConceptVectors.from_rows([([], []), ([2, 3], [1.0, 1.0])]))
    assert statistics.df.tolist() == [1, 0, 3, 1]
    assert statistics.n_docs == 4
    np.testing.assert_allclose(statistics.idf(), [math.log(5 / (df + 0.5)) for df in (1, 0, 3, 1)], rtol=1e-6)
    statistics.save(tmp_path / "statistics.npz")
    loaded = LatentStatistics.load(tmp_path / "statistics.npz")
    assert loaded.df.tolist() == [1, 0, 3, 1]
    assert loaded.n_docs == 4


def test_idf_is_positive_even_for_a_latent_in_every_document() -> None:
    assert LatentStatistics(np.array([10]), 10).idf()[0] > 0


def test_pseudo_terms() -> None:
    assert Terms(20).latent("c19") == 19
    assert [Terms(20).latent(name) for name in ("c20", "19", "c019", "")] == [None] * 4
    pieces = Terms(3, ["[PAD]", "dog", "##s"])
    assert pieces.name(2) == "##s"
    assert pieces.latent("dog") == 1
    with pytest.raises(SettingError, match=r"\b2\b.*\b3\b"):
        Terms(3, ["a", "b"])
