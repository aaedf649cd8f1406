"""Pruning of vectors and of dictionaries: checked by hand, then against each other."""

import math
from typing import Any

import numpy as np
import pytest

from pyterrier_saesplade.errors import DataError, SettingError
from pyterrier_saesplade.impacts import Pruning, Terms, to_toks
from pyterrier_saesplade.vectors import ConceptVectors

#: The first text's weights sum to 4; of its equal ones latent 1 comes first.
TEXTS = ConceptVectors.from_rows([([1, 3, 4, 8], [0.5, 2.0, 1.0, 0.5]), ([], []), ([7], [0.25])])


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"k": 1}, [3, 7]),
        ({"k": 3}, [1, 3, 4, 7]),
        ({"k": 9}, [1, 3, 4, 8, 7]),
        ({"max_ratio": 0.5}, [3, 4, 7]),
        ({"max_ratio": 0.25}, [1, 3, 4, 8, 7]),
        ({"max_ratio": 1}, [3, 7]),
        ({"mass": 0.1}, [3, 7]),
        ({"mass": 0.5}, [3, 7]),
        ({"mass": 0.75}, [3, 4, 7]),
        ({"mass": 0.76}, [1, 3, 4, 7]),
        ({"mass": 1.0}, [1, 3, 4, 8, 7]),
        ({"threshold": 0.5}, [1, 3, 4, 8]),
        ({"threshold": 0.51}, [3, 4]),
        ({"threshold": 2.5}, []),
        ({"k": 3, "threshold": 0.75}, [3, 4]),
        ({"k": 2, "mass": 0.5}, [3, 7]),
        ({"max_ratio": 0.25, "mass": 0.76, "threshold": 0.5}, [1, 3, 4]),  # the mass is of the whole text
    ],
)
def test_by_hand(rules: dict[str, float], kept: list[int]) -> None:
    pruning = Pruning(**rules)  # type: ignore[arg-type]
    vectors = pruning.prune(TEXTS)
    assert vectors.latents.tolist() == kept
    assert len(vectors) == 3
    assert [pruning.prune_toks(toks) for toks in to_toks(TEXTS, Terms(9))] == to_toks(vectors, Terms(9))


def test_kept_entries_are_unchanged() -> None:
    positions = np.array([5, 6, 7, 8, 9], np.int32)
    vectors = Pruning(k=2).prune(ConceptVectors(TEXTS.indptr, TEXTS.latents, TEXTS.weights, positions))
    assert vectors.indptr.tolist() == [0, 2, 2, 3]
    assert vectors.weights.tolist() == [2.0, 1.0, 0.25]
    assert vectors.weights.dtype == np.float32
    assert vectors.positions is not None
    assert vectors.positions.tolist() == [6, 7, 9]
    assert TEXTS.latents.tolist() == [1, 3, 4, 8, 7]


def test_ties_keep_the_first_terms_of_a_dictionary() -> None:
    assert Pruning(k=2).prune_toks({"c9": 1, "c2": 3, "c1": 1}) == {"c9": 1, "c2": 3}
    assert list(Pruning(k=2).prune_toks({"c9": 1, "c2": 3, "c1": 1})) == ["c9", "c2"]


@pytest.mark.parametrize("weights", ["floats", "ties", "integers"])
@pytest.mark.parametrize(
    "pruning",
    [Pruning(k=7), Pruning(max_ratio=0.3), Pruning(mass=0.8), Pruning(threshold=0.4), Pruning(20, 0.1, 0.9, 0.05)],
    ids=repr,
)
def test_vectors_and_dictionaries_agree(pruning: Pruning, weights: str) -> None:
    random = np.random.default_rng(0)
    rows: list[tuple[Any, Any]] = []
    for _ in range(300):
        length = int(random.integers(0, 60))
        values = random.exponential(size=length) + 0.001
        if weights != "floats":
            values = np.ceil(values * 4)
        rows.append((np.sort(random.choice(500, length, replace=False)), values))
    vectors = ConceptVectors.from_rows(rows)
    if weights == "integers":
        vectors = ConceptVectors(vectors.indptr, vectors.latents, vectors.weights.astype(np.int32))
    together = pruning.prune(vectors)
    assert 0 < len(together.latents) <= len(vectors.latents)
    toks = [pruning.prune_toks(toks) for toks in to_toks(vectors, Terms(500))]
    assert toks == to_toks(together, Terms(500))
    # Pruning does not depend on the other texts, and pruning twice is pruning once (except by mass).
    alone = ConceptVectors.concatenate([pruning.prune(vectors.take([text])) for text in range(len(vectors))])
    assert alone.latents.tolist() == together.latents.tolist()
    if pruning.mass is None:
        assert pruning.prune(together).latents.tolist() == together.latents.tolist()


def test_empty_input_stays_empty() -> None:
    nothing = Pruning(1, 0.5, 0.5, 0.5).prune(ConceptVectors.from_rows([]))
    assert len(nothing) == 0
    assert Pruning(mass=0.5).prune_toks({}) == {}


@pytest.mark.parametrize(
    ("rules", "fact"),
    [
        ({}, r"\bk, max_ratio, mass or threshold"),
        ({"k": 0}, r"\bk\b.* 0$"),
        ({"k": 2.5}, r"\bk\b.* 2\.5$"),
        ({"k": True}, r"\bk\b.* True$"),
        ({"max_ratio": 0}, r"max_ratio .* 0$"),
        ({"mass": 1.5}, r"mass .* 1\.5$"),
        ({"mass": math.nan}, "mass .* nan$"),
        ({"k": 3, "threshold": -1}, "threshold .* -1$"),
        ({"threshold": math.inf}, "threshold .* inf$"),
    ],
)
def test_invalid_rules(rules: dict[str, Any], fact: str) -> None:
    with pytest.raises(SettingError, match=fact):
        Pruning(**rules)


def test_weights_that_are_not_finite() -> None:
    for weight in (math.nan, math.inf):
        with pytest.raises(DataError, match="finite"):
            Pruning(k=1).prune_toks({"c1": 1.0, "c2": weight})
        with pytest.raises(DataError, match="finite"):
            Pruning(k=1).prune(ConceptVectors.from_rows([([1, 2], [1.0, weight])]))
