"""Runs the commands that reproduce a table of the paper, and resumes where an earlier call stopped."""

from __future__ import annotations

import logging
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pyterrier_saesplade.errors import EngineError, PathNotFoundError
from pyterrier_saesplade.files import scratch_beside
from pyterrier_saesplade.paper.plan import Folders, Step, Tables, open_tables

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_log = logging.getLogger(__name__)

_TRAININGS = ("pretrain", "finetune")


def reproduce(
    table: str,
    out: str | os.PathLike[str] = "paper",
    *,
    data: str | os.PathLike[str] = "data",
    configs: str | os.PathLike[str] = "examples/paper",
    gpus: int = 1,
    tables: Tables | str | os.PathLike[str] | None = None,
) -> str:
    """Reproduces a table of the paper: runs the trainings and evaluations, and draws the figures.

    Each step is a command in its own process. The output of a step is kept in ``out``. A later call therefore resumes
    where this one stopped, and other tables use the same output. A step that is done is not repeated, even if its
    settings have changed since.

    Args:
        table: The name of the table; see :func:`~pyterrier_saesplade.paper.plan.open_tables`.
        out: The folder for all output.
        data: The folder of the files that must be provided.
        configs: The folder with the settings of the trainings and two programs, ``examples/paper`` of the repository.
        gpus: Number of GPUs of this machine that a training uses.
        tables: Other tables, or the YAML file that defines them; ``None``: the tables of the paper.

    Returns:
        The table in Markdown, with the reported values and all known facts.

    Raises:
        FileNotFoundError: If a file that must be provided is missing. Nothing has run in this case.
        ValueError: If there is no such table.
        ChildProcessError: If a command failed. The command printed the reason.

    Examples:
        .. code-block:: python

            print(reproduce("k", "paper", data="my-data", gpus=8))

        The first steps of this table:

        >>> [step.name for step in open_tables().plan("k")][:3]
        ['sae/k4', 'model/k4', 'msmarco-dev/k4']
    """
    opened = tables if isinstance(tables, Tables) else open_tables(tables)
    folders = Folders(Path(out), Path(data), Path(configs))
    waiting = [step for step in opened.plan(table, folders) if not step.is_done]
    _check_inputs(waiting, opened)
    for number, step in enumerate(waiting, start=1):
        _log.info("%d of %d: %s", number, len(waiting), step)
        _run(step, _command(step, gpus))
        if not step.is_done:
            raise EngineError(f"{step} ended without an error, but {step.path} is not complete")
    return opened.describe(table, folders)


def _check_inputs(steps: Sequence[Step], tables: Tables) -> None:
    for path, place in ((path, place) for step in steps for path, place in step.inputs.items() if not path.exists()):
        if place == "configs":
            raise PathNotFoundError(f"there is no {path}: name the folder examples/paper of the repository (--configs)")
        what = tables.files.get(path.name, "which must be provided")
        raise PathNotFoundError(f"there is no {path}, {what}: name the folder that holds it (--data)")


def _run(step: Step, command: Sequence[str]) -> None:
    with scratch_beside(step.path) as partial, partial.open("wb") if step.prints else nullcontext() as file:
        code = subprocess.run(command, stdout=file, check=False).returncode
        if code != 0:
            raise EngineError(f"{step.name} was not made, exit code {code} (the same call resumes there): {step}")
        if step.prints:
            partial.replace(step.path)


def _command(step: Step, gpus: int) -> list[str]:
    program, *arguments = step.words
    if program == "python":
        return [sys.executable, *arguments]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    launcher = several if gpus > 1 and arguments[0] in _TRAININGS else []
    return [sys.executable, *launcher, "-m", "pyterrier_saesplade.cli", *arguments]
