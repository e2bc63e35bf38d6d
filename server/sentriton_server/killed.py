"""Waits for the end of a killed process, but not for ever."""

from __future__ import annotations

import subprocess
from typing import Any

from sentriton.errors import SentritonError

# A pod's grace period has a reserve of 10 s, so the error is in its log.
KILL_TIMEOUT_S = 8.0


class StillRunning(SentritonError):
    """A killed process does not end. It keeps its ports and its memory, so another one cannot replace it."""


def wait_for_killed(process: subprocess.Popen[Any], name: str) -> int:
    """The exit code of a killed process. Raises `StillRunning` if SIGKILL has no effect on it, because it waits in the
    kernel.
    """
    try:
        return process.wait(KILL_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise StillRunning(
            f"{name} (process {process.pid}) has not ended {KILL_TIMEOUT_S:.0f} s after SIGKILL, so it waits in the "
            "kernel, usually for a GPU driver or a network disk; repair that or restart the machine, then start again"
        ) from error
