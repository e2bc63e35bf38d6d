"""Processes of clients in other languages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT

Ran = subprocess.CompletedProcess[str]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a client's process: no setting of ours but those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENTRITON_")}
    return {**inherited, **variables}


def run(*command: str | Path, folder: Path = ROOT, stdin: str = "", timeout_s: float = 400, **variables: str) -> Ran:
    """Runs a command to its end, with these variables beside those of this process."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
