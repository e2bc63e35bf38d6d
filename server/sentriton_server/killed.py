"""Waits for the end of a killed process, but not for ever."""

from __future__ import annotations

import subprocess
from typing import Any

from sentriton.errors import SentritonError

KILL_TIMEOUT_S = 30.0  # a process with a large memory or several GPUs needs some seconds to end
STOP_TIMEOUT_S = 8.0  # at the end of `serve`: a pod's grace period has a reserve of 10 s, so the error is in its log


class StillRunning(SentritonError):
    """A killed process does not end. It keeps its ports and its memory, so another one cannot replace it."""


def wait_for_killed(process: subprocess.Popen[Any], name: str, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """The exit code of a killed process. Raises `StillRunning` if it does not end within `timeout_s`, which happens to
    a process that waits in the kernel.
    """
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise StillRunning(
            f"{name} (process {process.pid}) has not ended {timeout_s:.0f} s after SIGKILL; it probably waits in the "
            "kernel, for a GPU driver or a network disk: repair that or restart the machine, then start again"
        ) from error
