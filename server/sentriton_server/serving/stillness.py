"""Distinguishes a Triton that hangs from a slow one: it uses no processor time while a request waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

OBSERVATION_S = 4.0
# With nothing to do, Triton and its stubs use a hundredth of a core; as little where one hangs and the others are well.
_MIN_BUSY_CORES = 0.05
# A machine with too little memory waits for its disk, and its processes use little time.
_MAJOR_FAULT_S = 0.01


def work_s(pids: Iterable[int]) -> float:
    """The processor time of these processes so far, in seconds, with some for each page that came from a disk."""
    total = 0.0
    for pid in pids:
        try:
            # proc(5): field 3 is the first after the name; majflt is 12, utime and stime are 14 and 15.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks = int(fields[11]) + int(fields[12])
        total += ticks / os.sysconf("SC_CLK_TCK") + int(fields[9]) * _MAJOR_FAULT_S
    return total


class Stillness:
    """Watches `work_s`, the seconds of work so far, from now on, while a request waits."""

    def __init__(self, work_s: Callable[[], float]) -> None:
        self._work_s = work_s
        self._begin()

    def is_certain(self) -> bool:
        """Whether nothing was done for the last `OBSERVATION_S` seconds; False between two looks."""
        elapsed_s = time.monotonic() - self._began
        if elapsed_s < OBSERVATION_S:
            return False
        still = self._work_s() - self._before < _MIN_BUSY_CORES * elapsed_s
        self._begin()
        return still

    def _begin(self) -> None:
        self._began, self._before = time.monotonic(), self._work_s()
