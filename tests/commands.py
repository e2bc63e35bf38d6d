"""Runs the program `sentriton`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SENTRITON = str(Path(sys.executable).parent / "sentriton")


def run(*arguments: object, input: str | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """The output of a command and its exit code."""
    command = [SENTRITON, *map(str, arguments)]
    return subprocess.run(command, input=input, capture_output=True, text=True, timeout=timeout_s, check=False)
