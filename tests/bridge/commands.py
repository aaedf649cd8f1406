"""Commands in other processes, because Anserini's Java is not that of PyTerrier; and their runs."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from pyterrier_saesplade.cli import app

Run = dict[tuple[str, str], int]


def python(*arguments: object, java_home: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=_environment(java_home), capture_output=True, text=True, check=False)


def _environment(java_home: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}, "JAVA_HOME": java_home}


def saesplade(*arguments: object) -> None:
    """Runs a command of this package that needs no Java, in this process."""
    app([str(argument) for argument in arguments], standalone_mode=False)


#: Runs commands as `python -m` does, one after another. Their output goes to stderr, their exit codes to stdout.
_WORKER = """
import json, os, runpy, sys, traceback
codes = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    module, *arguments = json.loads(line)
    sys.argv = [module, *arguments]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        code = exit.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    print(code, file=codes, flush=True)
"""
#: Release 2.4 of Pyserini downloads a list of indexes when it is imported. This replaces it by an empty list.
_NO_DOWNLOAD = """
from pyserini_bridge import compat
if compat.needs_index_info():
    compat.skip_index_info()
"""


class Worker:
    """A process that runs one command after another, so that Python and Java start once.

    Args:
        log: A file for what the commands print.
        stock: Whether the commands are Pyserini's own.
        java_home: The Java that they use; empty if they find one.
    """

    def __init__(self, log: Path, *, stock: bool = False, java_home: str = "") -> None:
        self._log = log
        program = f"{_NO_DOWNLOAD if stock and not version('pyserini').startswith('1.') else ''}{_WORKER}"
        command = [sys.executable, "-c", program]
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command,
                env=_environment(java_home),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def run(self, module: str, *arguments: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        printed = self._log.stat().st_size
        print(json.dumps([module, *map(str, arguments)]), file=self._process.stdin, flush=True)
        code = self._process.stdout.readline()
        assert code == "0\n", self._log.read_bytes()[printed:].decode()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def read_run(path: Path) -> Run:
    """Reads scores as integers, because Pyserini lowers each of several equal scores by 1e-6."""
    rows = [line.split() for line in path.read_text("utf-8").splitlines()]
    return {(qid, docno): round(float(score)) for qid, _, docno, _, score, _ in rows}


def integers(run: pd.DataFrame) -> Run:
    """Multiplies scores by the scales of documents and queries."""
    pairs = zip(run["qid"], run["docno"], strict=True)
    return dict(zip(pairs, (run["score"] * 1000).round().astype(int), strict=True))
