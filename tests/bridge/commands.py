"""Commands as a user gives them, in processes of their own, and their runs."""

import os
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import pandas as pd

Run = dict[tuple[str, str], int]


def python(*arguments: object, java_home: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "JAVA_HOME": java_home}
    environment.pop("OPENAI_API_KEY", None)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def command(*arguments: object, java_home: str = "") -> str:
    done = python("-m", *arguments, java_home=java_home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stock_command(module: str, *arguments: object, java_home: str) -> str:
    """One of Pyserini's own; for release 2.4, which asks the network for a list of indexes, with an empty list."""
    if version("pyserini").startswith("1."):
        return command(module, *arguments, java_home=java_home)
    script = f"""
        import runpy
        from pyserini_bridge import compat
        if compat.needs_index_info():
            compat.skip_index_info()
        runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
    """
    done = python("-c", textwrap.dedent(script), *arguments, java_home=java_home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_run(path: Path) -> Run:
    """Scores as integers: Pyserini lowers equal ones by 1e-6 each."""
    rows = [line.split() for line in path.read_text("utf-8").splitlines()]
    return {(qid, docno): round(float(score)) for qid, _, docno, _, score, _ in rows}


def integers(run: pd.DataFrame) -> Run:
    """Our scores, which are divided by both scales, likewise."""
    pairs = zip(run["qid"], run["docno"], strict=True)
    return dict(zip(pairs, (run["score"] * 1000).round().astype(int), strict=True))
