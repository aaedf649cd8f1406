"""What a comparison leaves behind: a table, ``results.json``, ``results.csv``, a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pyterrier_saesplade.figures import plot_tradeoff

#: The columns after the name and the measures, with the decimals that the table shows.
COSTS = {
    "qd_flops": 2,
    "index_mb": 2,
    "mrt": 1,
    "encode_ms_per_query": 1,
    "retrieve_ms_per_query": 1,
    "build_seconds": 1,
}


@dataclass(frozen=True)
class Comparison:
    """The outcome of an experiment.

    Attributes:
        title: The collection, its number of documents and of judged queries.
        table: One row per system: ``name``; the measures by their ir_measures names; ``qd_flops`` (multiplications for
            a pair of query and document; missing for a dense system); ``index_mb`` (10^6 bytes on disk); ``mrt``
            (milliseconds per query, encoding included); ``encode_ms_per_query`` and ``retrieve_ms_per_query``, its
            parts; ``build_seconds`` (encoding and indexing all documents, measured when the index was built).
        measures: The names of the measures, in the table's order.
        notes: What each system is.
        index: The folder of the compared model's index.
    """

    title: str
    table: pd.DataFrame
    measures: Sequence[str]
    notes: Sequence[str]
    index: Path

    def __str__(self) -> str:
        """The table as text, as wide as its columns need, with the notes below it."""
        decimals = dict.fromkeys(self.measures, 3) | COSTS
        columns = {
            column: [f"{value:.{places}f}" if pd.notna(value) else "" for value in self.table[column]]
            for column, places in decimals.items()
        }
        table = pd.DataFrame({"name": self.table["name"], **columns}).to_string(index=False)
        return "\n".join([self.title, "", table, "", *self.notes])

    def write(self, folder: Path) -> None:
        """Writes ``results.json``, ``results.csv`` and ``results.png`` into a folder."""
        objects = [_json_object(row) for row in self.table.to_dict("records")]
        text = json.dumps(objects, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        (folder / "results.json").write_text(text, encoding="utf-8")
        self.table.to_csv(folder / "results.csv", index=False)
        plot_tradeoff(self.table, self.measures[0], folder / "results.png", title=self.title)


def _json_object(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
