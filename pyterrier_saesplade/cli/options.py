"""Options that several commands have, and what they are read by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from pyterrier_saesplade import types

if TYPE_CHECKING:
    from pyterrier_saesplade.saesplade import SaeSplade

COLLECTION: Any = typer.Option(
    help="Folder with docs.jsonl[.gz], queries.tsv, qrels.txt; a data set of PyTerrier or ir_datasets; docstrings."
)
Collection = Annotated[str, COLLECTION]
MODEL: Any = typer.Option(help="SAE-SPLADE model, folder or hub name; splade=NAME for a SPLADE checkpoint.")
Model = Annotated[str, MODEL]
K = Annotated[int | None, typer.Option(help="Latents kept per token, in place of the model's.")]
DocMaxLength = Annotated[int | None, typer.Option(help="Word pieces kept per document, in place of the model's.")]
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:1; the first GPU if there is one.")]
Precision = Annotated[types.Precision, typer.Option(help="Number format to compute in.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE, a setting in place of the file's; repeat for several."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Figure = Annotated[Path, typer.Option("--out", help="File to write: .png, .pdf or .svg.")]

#: For the help of arguments that :func:`named` reads.
NAMED = "NAME=FOLDER gives it a name"


def named(text: str) -> tuple[str | None, Path]:
    """Returns the folder of ``NAME=FOLDER``, and the name; an existing path is a folder as it is written."""
    name, equals, folder = text.partition("=")
    return (None, Path(text)) if not equals or Path(text).exists() else (name, Path(folder))


def refuse(purpose: str, **options: Any) -> None:
    """Reports an option that was given but would have no effect."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise typer.BadParameter(f"{name} is {purpose}")


def assigned(option: str, texts: list[str] | None) -> dict[str, Any]:
    """Returns the values of ``NAME=VALUE``, which are read as YAML."""
    values = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{option} must be NAME=VALUE, not {text}")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"the value of {option} {text} cannot be read: {error}") from error
    return values


def open_model(model: str, **settings: Any) -> SaeSplade:
    """Opens a model by the name that ``--model`` has."""
    from pyterrier_saesplade.saesplade import open_model as open_by_name

    return open_by_name(model, **settings)
