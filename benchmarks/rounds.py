"""Runs systems that do the same work in turns, each in a separate process.

Machines are noisy, so the systems take turns (A B C A B C …). What is compared is the median over the rounds of the
ratio within a round. A benchmark is a script. Called with ``--worker SYSTEM``, it does the work once and calls
:func:`report_run`. Called without it, the script checks that all systems give the same results, and then calls
:func:`take_turns`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

Figures = dict[str, list[dict[str, float]]]
"""The figures that each run of a system reported, round by round."""


def report_run(**figures: float) -> None:
    """Prints the figures of a run and its peak memory in MB; this must be its last line."""
    print(json.dumps({**figures, "peak_mb": peak_memory()}))


def peak_memory() -> float:
    """Returns the peak memory of this process in MB; on Linux ``getrusage`` may report its parent's."""
    return _memory("VmHWM")


def memory() -> float:
    """Returns the memory of this process in MB; except on Linux, its peak so far."""
    return _memory("VmRSS")


def _memory(field: str) -> float:
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if field in line) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def run_worker(
    script: str, system: str, options: Mapping[str, object], python: str | None = None, threads: int | None = None
) -> dict[str, float]:
    """Runs a system once, in a separate process, and returns the figures that it reported."""
    call = [python or sys.executable, script, "--worker", system]
    call += [f"--{name}={value}" for name, value in options.items()]
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true")
    if threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))
    result = subprocess.run(call, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise SystemExit(f"{system} failed:\n{result.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return figures


def take_turns(
    script: str,
    systems: Sequence[str],
    options: Mapping[str, object],
    rounds: int,
    pythons: Mapping[str, str] | None = None,
) -> Figures:
    """Runs all systems in turns; ``pythons`` has the interpreters of those in another environment."""
    figures: Figures = {system: [] for system in systems}
    for number in range(rounds):
        for system in systems:
            figures[system].append(run_worker(script, system, options, (pythons or {}).get(system)))
            print(f"round {number + 1}: {system} {figures[system][-1]}", file=sys.stderr, flush=True)
    return figures


def ratio(figures: Figures, of: str, to: str, what: str = "seconds") -> float:
    """Returns the ratio of two systems' figures, as the median over the rounds."""
    return statistics.median(mine[what] / theirs[what] for mine, theirs in zip(figures[of], figures[to], strict=True))


def median(figures: Figures, of: str, what: str = "seconds") -> float:
    """Returns a figure of a system, as the median over the rounds."""
    return statistics.median(run[what] for run in figures[of])


def write_results(out: Path, work: str, figures: Figures, packages: Sequence[str], **facts: Any) -> None:
    """Writes the figures of a benchmark and the versions of the packages as JSON."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    write_json(out, work=work, versions=versions, **facts, figures=figures)


def write_json(out: Path, **results: Any) -> None:
    """Writes results with the date and the processor as JSON."""
    about = {"date": date.today().isoformat(), "cpu": processor(), "cores": os.cpu_count()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(about | results, indent=1) + "\n")


def processor() -> str:
    """Returns the processor's name and its instructions for fast products."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    fast = {"amx_bf16", "avx512_bf16", "avx512_vnni"}.intersection(facts.get("flags", "").split())
    return f"{facts.get('model name', platform.machine())} ({', '.join(sorted(fast)) or 'no bfloat16'})"
