"""The work-arounds, in a process of their own: importing Pyserini starts a Java that PyTerrier could not use."""

import subprocess
import sys
from pathlib import Path


def test_work_arounds() -> None:
    cases = Path(__file__).with_name("compat_cases.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout
