"""The table of a comparison, and its files."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pyterrier_saesplade.evaluation import Comparison

COSTS = {"index_mb": 1.0, "mrt": 2.0, "encode_ms_per_query": 1.5, "retrieve_ms_per_query": 0.5, "build_seconds": 3.0}
TABLE = pd.DataFrame(
    [
        {"name": "bm25", "nDCG@10": 0.6174, "qd_flops": 1.25, **COSTS},
        {"name": "dense", "nDCG@10": 0.5951, "qd_flops": float("nan"), **COSTS},
    ]
)


@pytest.fixture
def comparison() -> Comparison:
    """Two systems, one without QD-FLOPs."""
    notes = ["bm25: words", "dense: one vector"]
    return Comparison("docs: 2 documents, 1 judged queries", TABLE, ["nDCG@10"], notes, Path())


def test_the_table_is_readable(comparison: Comparison) -> None:
    """Figures are rounded, missing figures are blank, and the notes are at the end."""
    lines = str(comparison).splitlines()
    assert lines[0] == "docs: 2 documents, 1 judged queries"
    assert lines[2].split() == ["name", "nDCG@10", "qd_flops", "index_mb", "mrt", *list(COSTS)[2:]]
    assert lines[3].split() == ["bm25", "0.617", "1.25", "1.00", "2.0", "1.5", "0.5", "3.0"]
    assert lines[4].split() == ["dense", "0.595", "1.00", "2.0", "1.5", "0.5", "3.0"]
    assert lines[-2:] == ["bm25: words", "dense: one vector"]


def test_json_is_strict_and_exact(comparison: Comparison, tmp_path: Path) -> None:
    """A missing figure is null, never NaN. Figures keep every digit."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    comparison.write(tmp_path)
    objects = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert objects[0] == {"name": "bm25", "nDCG@10": 0.6174, "qd_flops": 1.25, **COSTS}
    assert objects[1]["qd_flops"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", "results.json", "results.png"]
