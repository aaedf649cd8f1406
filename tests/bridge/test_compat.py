"""The workarounds, in another process: importing Pyserini starts a Java that PyTerrier cannot use."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_workarounds() -> None:
    cases = Path(__file__).with_name("compat_cases.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout
