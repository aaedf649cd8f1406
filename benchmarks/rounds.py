"""Systems that do the same work, in turn, each run in a process of its own.

Machines are noisy, so the systems take turns (A B C A B C …); what is compared is the ratio within a round, and its
median over the rounds. A benchmark is a script that, called with ``--worker SYSTEM``, does the work once and calls
:func:`report_run`; called without, it checks that all systems give the same, and then calls :func:`take_turns`.
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
"""Of each system what its runs reported, round by round."""


def report_run(**figures: float) -> None:
    """Print what one run measured, and its peak memory in MB, as the last line that it prints."""
    print(json.dumps({**figures, "peak_mb": peak_memory()}))


def peak_memory() -> float:
    """Return the most MB that this process had; on Linux what `getrusage` says may be its parent's."""
    return _memory("VmHWM")


def memory() -> float:
    """Return the MB that this process has; elsewhere than on Linux, the most that it had so far."""
    return _memory("VmRSS")


def _memory(field: str) -> float:
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if field in line) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def run_worker(
    script: str, system: str, options: Mapping[str, object], python: str | None = None, threads: int | None = None
) -> dict[str, float]:
    """Run a system once, in a process of its own, and return what it reported."""
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
    """Run all systems in turn; ``pythons`` names the interpreter of those that live in another environment."""
    figures: Figures = {system: [] for system in systems}
    for number in range(rounds):
        for system in systems:
            figures[system].append(run_worker(script, system, options, (pythons or {}).get(system)))
            print(f"round {number + 1}: {system} {figures[system][-1]}", file=sys.stderr, flush=True)
    return figures


def ratio(figures: Figures, of: str, to: str, what: str = "seconds") -> float:
    """Return the median over the rounds of the ratio between two systems' figures."""
    return statistics.median(mine[what] / theirs[what] for mine, theirs in zip(figures[of], figures[to], strict=True))


def median(figures: Figures, of: str, what: str = "seconds") -> float:
    """Return the median over the rounds of a system's figure."""
    return statistics.median(run[what] for run in figures[of])


def write_results(out: Path, work: str, figures: Figures, packages: Sequence[str], **facts: Any) -> None:
    """Write the figures of a benchmark and the versions of what it ran, as JSON."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    write_json(out, work=work, versions=versions, **facts, figures=figures)


def write_json(out: Path, **results: Any) -> None:
    """Write results with the date and the processor."""
    about = {"date": date.today().isoformat(), "cpu": processor(), "cores": os.cpu_count()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(about | results, indent=1) + "\n")


def processor() -> str:
    """Return the processor's name and which fast products it has."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    fast = {"amx_bf16", "avx512_bf16", "avx512_vnni"}.intersection(facts.get("flags", "").split())
    return f"{facts.get('model name', platform.machine())} ({', '.join(sorted(fast)) or 'no bfloat16'})"
