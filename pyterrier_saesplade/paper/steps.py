"""The tables of the paper, made: command after command, where an earlier call stopped."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from pyterrier_saesplade.errors import EngineError, PathNotFoundError
from pyterrier_saesplade.files import scratch_beside
from pyterrier_saesplade.paper.plan import Folders, Step, Tables, open_tables

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
    """Makes a table of the paper: trains, evaluates and draws what is missing of it.

    Each step is a command in a process of its own. What a step made is kept in ``out``, so that another call goes on
    where this one stopped, and other tables use it too; whether settings have changed since is not looked at.

    Args:
        table: Its name; see :func:`~pyterrier_saesplade.paper.plan.open_tables`.
        out: The folder of everything that is made.
        data: The folder of the files that have to be brought.
        configs: The folder of the trainings' settings and of two programs, ``examples/paper`` of the repository.
        gpus: On how many GPUs of this machine a training runs.
        tables: Tables of one's own, or their YAML file; ``None``: the paper's.

    Returns:
        The table in Markdown, with what was reported, and the facts about it.

    Raises:
        FileNotFoundError: If a file is missing that has to be brought; before anything runs.
        ValueError: If there is no such table.
        ChildProcessError: If a command failed, which has said why.

    Examples:
        .. code-block:: python

            print(reproduce("k", "paper", data="my-data", gpus=8))

        These are its first steps:

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
        what = tables.files.get(path.name, "which has to be brought")
        raise PathNotFoundError(f"there is no {path}, {what}: name the folder that holds it (--data)")


def _run(step: Step, command: Sequence[str]) -> None:
    with scratch_beside(step.path) as partial, partial.open("wb") if step.prints else nullcontext() as file:
        code = subprocess.run(command, stdout=file, check=False).returncode
        if code != 0:
            raise EngineError(f"{step.name} was not made, exit code {code} (the same call goes on there): {step}")
        if step.prints:
            partial.replace(step.path)


def _command(step: Step, gpus: int) -> list[str]:
    program, *arguments = step.words
    if program == "python":
        return [sys.executable, *arguments]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    launcher = several if gpus > 1 and arguments[0] in _TRAININGS else []
    return [sys.executable, *launcher, "-m", "pyterrier_saesplade.cli", *arguments]
