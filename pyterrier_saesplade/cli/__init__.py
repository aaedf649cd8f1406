"""The ``saesplade`` command: one verb for each step, each a public function of the package."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from pyterrier_saesplade.cli import concepts, evaluation, indexing, plot, training
from pyterrier_saesplade.cli.group import SaespladeGroup

__all__ = ["app", "main"]

app = typer.Typer(cls=SaespladeGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def _saesplade(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of every error, like SAESPLADE_DEBUG=1.")
    ] = False,
) -> None:
    """Learned sparse retrieval over the concepts of a sparse autoencoder (SAE-SPLADE)."""
    log = logging.getLogger("pyterrier_saesplade")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())


for _family in (training, indexing, evaluation, concepts):
    app.add_typer(_family.app)
app.add_typer(plot.app, name="plot")


def main() -> None:
    """Runs the command line."""
    app(prog_name="saesplade")
