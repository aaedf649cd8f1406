"""Put what the benchmarks measured into one page, benchmarks/README.md.

python benchmarks/report.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import rounds
import typer

OURS = "pyterrier_saesplade"
TITLES = {
    "encode": "Encoding documents, SPLADE",
    "encode-sae-384": "Encoding documents, an SAE on 6 layers of 384",
    "encode-sae-768": "Encoding documents, an SAE on 6 layers of 768",
    "query": "Encoding one query, SPLADE",
    "query-sae": "Encoding one query, an SAE on 6 layers of 384",
    "pretrain_step": "A step of pre-training",
    "train_step": "A step of fine-tuning",
    "index": "Index and search",
    "index-scaled-once": "The same, PISA's integers multiplied once by 100, where the recipe does it twice",
    "retrieval": "Retrieval of queries, end to end",
    "retrieval-100": "The same, 100 documents per query",
}


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what a benchmark wrote, or nothing if it was not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(results: dict[str, Any]) -> str:
    """Return the medians of a benchmark as a Markdown table, and the median ratios to ours."""
    figures = results["figures"]
    measures = list(next(iter(figures.values()))[0])
    compared = [name for name in measures if name not in ("peak_mb", "ndcg", "p95")]
    lines = [
        f"| system | {' | '.join(measures)} | {' | '.join(f'{name} / ours' for name in compared)} |",
        "|---" * (len(measures) + len(compared) + 1) + "|",
    ]
    for system in figures:
        cells = [f"{rounds.median(figures, system, name):.4g}" for name in measures]
        cells += [f"{rounds.ratio(figures, system, ours_beside(system, figures), name):.2f}" for name in compared]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ours_beside(system: str, systems: Iterable[str]) -> str:
    """Return the system of ours that another is compared with: in an engine, that of the same engine."""
    names = (OURS, "sparse", f"ours-{system.rpartition('-')[2]}")
    return next(name for name in names if name in systems)


def section(results: dict[str, Any], title: str) -> str:
    """Return the section of a benchmark."""
    known = {"work", "date", "cpu", "cores", "versions", "figures"}
    facts = "".join(
        f" {name.replace('_', ' ')}: {', '.join(map(str, value)) if isinstance(value, list) else value}."
        for name, value in results.items()
        if name not in known and not isinstance(value, dict)
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    repeats = len(next(iter(results["figures"].values())))
    about = f"{results['date']}, {results['cores']} cores of {results['cpu']}; {repeats} rounds.{facts} {versions}."
    return f"## {title}\n\n{about}\n\n{table(results)}\n"


def main(
    folder: Annotated[Path, typer.Option(help="Where the results are.")] = Path("benchmarks/results"),
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("benchmarks/README.md"),
) -> None:
    """Write the page."""
    parts = [(Path(__file__).parent / "page.md").read_text()]
    for name, title in TITLES.items():
        if (results := read(folder, name)) is not None:
            parts.append(section(results, title))
    if (growth := read(folder, "growth")) is not None:
        figures = "\n".join(f"![{name}](figures/growth-{name}.png)\n" for name in growth["points"])
        parts.append(f"## Growth\n\n{growth['date']}, {growth['cpu']}, texts of {growth['collection']}.\n\n{figures}")
    if (shares := read(folder, "shares")) is not None:
        rows = "\n".join(
            f"| {name} | {row['backbone']:.0%} | {row['head products']:.0%} | {row['rest']:.0%} |"
            for name, row in shares["shares"].items()
        )
        head = "| work | backbone | head's products | rest |\n|---|---|---|---|"
        parts.append(f"## Where the time goes\n\n{head}\n{rows}\n")
    out.write_text("\n".join(parts))


if __name__ == "__main__":
    typer.run(main)
