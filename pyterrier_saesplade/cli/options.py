"""Options that several commands share, and the functions that read their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from pyterrier_saesplade import types

if TYPE_CHECKING:
    from pyterrier_saesplade.saesplade import SaeSplade

COLLECTION: Any = typer.Option(
    help="Folder with docs.jsonl[.gz], queries.tsv and qrels.txt; a dataset of PyTerrier or ir_datasets, such as "
    "irds:beir/scifact/test; or docstrings, made from the installed Python libraries."
)
Collection = Annotated[str, COLLECTION]
MODEL: Any = typer.Option(help="Folder or hub name of a SAE-SPLADE model; or splade=NAME, a SPLADE checkpoint.")
Model = Annotated[str, MODEL]
K = Annotated[int | None, typer.Option(help="Number of latents kept per token. By default, the model's.")]
DocMaxLength = Annotated[
    int | None, typer.Option(help="Number of word pieces kept per document. By default, the model's.")
]
Device = Annotated[
    str | None, typer.Option(help="Device, such as cpu or cuda:1. By default, the first GPU if there is one.")
]
Precision = Annotated[types.Precision, typer.Option(help="Number format of the computation.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting as NAME=VALUE, which overrides --config. Can be repeated."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
Figure = Annotated[Path, typer.Option("--out", help="Figure to write, ending in .png, .pdf or .svg.")]

#: Help on arguments that :func:`named` reads.
NAMED = "NAME=FOLDER sets the name that the figure shows"


def named(text: str) -> tuple[str | None, Path]:
    """Returns the name and the folder of ``NAME=FOLDER``. A plain folder or an existing path has no name."""
    name, equals, folder = text.partition("=")
    return (None, Path(text)) if not equals or Path(text).exists() else (name, Path(folder))


def refuse(scope: str, **options: Any) -> None:
    """Reports an option that was given but would have no effect, as it applies only to ``scope``."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise typer.BadParameter(f"{name} applies only to {scope}")


def assigned(option: str, texts: list[str] | None) -> dict[str, Any]:
    """Returns the names and values of ``NAME=VALUE`` texts; values are read as YAML."""
    values = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{option} must be NAME=VALUE, not {text}")
        try:
            values[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-13-01 is a ValueError
            raise typer.BadParameter(f"the value of {option} {text} cannot be read: {error}") from error
    return values


def open_model(model: str, **settings: Any) -> SaeSplade:
    """Opens the model that ``--model`` names."""
    from pyterrier_saesplade.saesplade import open_model as open_by_name

    return open_by_name(model, **settings)
