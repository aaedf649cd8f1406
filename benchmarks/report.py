"""Writes the page of all measurements, benchmarks/README.md, from page.md and the results.

Usage::

    python benchmarks/report.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import rounds
import typer

OURS, EXACT = "pyterrier_saesplade", "pyterrier_saesplade float32"
PRODUCT = "backbone and product"
TITLES = {
    "encode": "Encoding documents, SPLADE",
    "encode-sae-384": "Encoding documents, an SAE on 6 layers of 384",
    "encode-sae-768": "Encoding documents, an SAE on 6 layers of 768",
    "query": "Encoding one query, SPLADE",
    "query-sae": "Encoding one query, an SAE on 6 layers of 384",
    "pretrain_step": "One step of pre-training",
    "train_step": "One step of fine-tuning",
    "index": "Indexing and searching",
    "index-scaled-once": "Indexing and searching, with PISA's integers multiplied by 100 once (twice in the recipe)",
    "index-from-text": "Indexing and searching 2,000 documents, each side with its own encoder",
    "retrieval": "Retrieval end to end, 1,000 documents per query",
    "retrieval-100": "Retrieval end to end, 100 documents per query",
}


class Goal(NamedTuple):
    """A goal for the ratio of two systems' figures.

    Attributes:
        results: The benchmark.
        of: The system in the numerator.
        by: The system in the denominator.
        figure: The figure.
        least: The smallest ratio that reaches the goal; ``None`` if ``most`` is given.
        most: The largest ratio that reaches it.
    """

    results: str
    of: str
    by: str
    figure: str = "seconds"
    least: float | None = None
    most: float | None = None

    def reached(self, ratio: float) -> bool:
        """Returns whether a ratio reaches the goal."""
        return (self.least is None or ratio >= self.least) and (self.most is None or ratio <= self.most)


GOALS = [
    Goal("encode", "pyterrier_splade", OURS, least=18),
    Goal("encode", "sentence-transformers", OURS, least=4),
    Goal("encode", "sentence-transformers, ONNX", OURS, least=1.5),
    Goal("encode", "sentence-transformers, OpenVINO", OURS, least=1.5),
    Goal("encode", "pyserini", OURS, least=10),
    Goal("encode", OURS, PRODUCT, most=1.3),
    Goal("encode-sae-384", "dense", OURS, least=4),
    Goal("encode-sae-384", OURS, PRODUCT, most=1.5),
    Goal("encode-sae-768", "dense", OURS, least=4),
    Goal("encode-sae-768", OURS, PRODUCT, most=1.5),
    Goal("query", OURS, PRODUCT, most=1.2),
    Goal("query-sae", OURS, PRODUCT, most=1.2),
    Goal("pretrain_step", "sae-lens", OURS, least=3),
    Goal("pretrain_step", "sae-lens sparse", OURS, least=3),
    Goal("pretrain_step", "sparsify", OURS, least=3),
    Goal("pretrain_step", "dense", OURS, least=3),
    Goal("pretrain_step", "sae-lens", EXACT, least=3),
    Goal("pretrain_step", "sae-lens sparse", EXACT, least=3),
    Goal("pretrain_step", "sparsify", EXACT, least=3),
    Goal("pretrain_step", "dense", EXACT, least=3),
    Goal("pretrain_step", OURS, "gemm", most=2),
    Goal("pretrain_step", OURS, "sae-lens sparse", "step_mb", most=0.5),
    Goal("pretrain_step", OURS, "sparsify", "step_mb", most=0.5),
    Goal("pretrain_step", OURS, "dense", "step_mb", most=0.5),
    Goal("train_step", "dense", "sparse", least=2),
    Goal("train_step", "sparse", "dense", "step_mb", most=0.3),
    Goal("index", "splade-terrier", "ours-terrier", "megabytes", least=2.9),
    Goal("index", "splade-terrier", "ours-terrier", "build_seconds", least=2),
    Goal("index", "splade-pisa", "ours-pisa", "megabytes", least=1.3),
    Goal("index", "splade-pisa", "ours-pisa", "query_seconds", least=1),
    Goal("index-scaled-once", "splade-pisa", "ours-pisa", "query_seconds", least=1),
    Goal("retrieval", "pyterrier_splade", OURS, least=5),
    Goal("retrieval-100", "pyterrier_splade", OURS, least=5),
]


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """Returns the results of a benchmark; ``None`` if it was not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(results: dict[str, Any]) -> str:
    """Returns the medians of a benchmark and the median ratios to ours as a Markdown table."""
    figures = results["figures"]
    measures = list(next(iter(figures.values()))[0])
    compared = [name for name in measures if name not in ("peak_mb", "ndcg", "p95")]
    lines = [
        f"| system | {' | '.join(measures)} | {' | '.join(f'{name} / ours' for name in compared)} |",
        "|---" * (len(measures) + len(compared) + 1) + "|",
    ]
    for system in figures:
        cells = [f"{rounds.median(figures, system, name):.4g}" for name in measures]
        cells += [f"{rounds.ratio(figures, system, our_counterpart(system, figures), name):.2f}" for name in compared]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def our_counterpart(system: str, systems: Iterable[str]) -> str:
    """Returns our system that another is compared with: the one with the same engine, if there are engines."""
    names = (OURS, "sparse", f"ours-{system.rpartition('-')[2]}")
    return next(name for name in names if name in systems)


def section(results: dict[str, Any], title: str) -> str:
    """Returns the section of a benchmark."""
    known = {"work", "date", "cpu", "cores", "versions", "figures"}
    facts = "".join(
        f" {name.replace('_', ' ')}: {fact(value)}."
        for name, value in results.items()
        if name not in known and (not isinstance(value, dict) or name == "encode_seconds")
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    repeats = len(next(iter(results["figures"].values())))
    about = f"{results['date']}, {results['cores']} cores of {results['cpu']}; {repeats} rounds.{facts} {versions}."
    return f"## {title}\n\n{about}\n\n{table(results)}\n"


def goals(folder: Path) -> str:
    """Returns the goals and the measured ratios as a Markdown table."""
    lines = ["| work | ratio | figure | goal | measured | reached |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        results = read(folder, goal.results)
        if results is not None and {goal.of, goal.by} <= results["figures"].keys():
            ratio = rounds.ratio(results["figures"], goal.of, goal.by, goal.figure)
            aim = f">= {goal.least}" if goal.least is not None else f"<= {goal.most}"
            reached = "yes" if goal.reached(ratio) else "**no**"
            cells = (
                goal.results,
                f"{goal.of} / {goal.by}",
                goal.figure.replace("_", " "),
                aim,
                f"{ratio:.2f}",
                reached,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fact(value: Any) -> str:
    """Returns the text of a fact for a sentence."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.3g}" for name, number in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def main(
    folder: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("benchmarks/results"),
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("benchmarks/README.md"),
) -> None:
    """Write the page."""
    parts = [(Path(__file__).parent / "page.md").read_text().replace("{goals}", goals(folder))]
    for name, title in TITLES.items():
        if (results := read(folder, name)) is not None:
            parts.append(section(results, title))
    if (growth := read(folder, "growth")) is not None:
        figures = "\n".join(f"![{name}](figures/growth-{name}.png)\n" for name in growth["points"])
        parts.append(
            f"## Growth\n\n{growth['date']}, {growth['cpu']}, with texts of {growth['collection']}.\n\n{figures}"
        )
    if (shares := read(folder, "shares")) is not None:
        rows = "\n".join(
            f"| {name} | {row['backbone']:.0%} | {row['head products']:.0%} | {row['rest']:.0%} |"
            for name, row in shares["shares"].items()
        )
        head = "| work | backbone | products of the head | rest |\n|---|---|---|---|"
        parts.append(f"## Where the time goes\n\n{head}\n{rows}\n")
    out.write_text("\n".join(parts))


if __name__ == "__main__":
    typer.run(main)
