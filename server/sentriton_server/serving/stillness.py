"""Tells a hung Triton from a slow one. A hung Triton uses no processor time while a request waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

OBSERVATION_S = 4.0
# Without work, Triton and its stubs use a hundredth of a core. With one hung part they use as little.
_MIN_BUSY_CORES = 0.05
# If memory is low, processes wait for the disk and use little processor time. So each page fault counts as work.
_MAJOR_FAULT_S = 0.01


def work_s(pids: Iterable[int]) -> float:
    """The processor time of these processes in seconds, plus a share for each page that was read from a disk."""
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
    """Watches `work_s`, the seconds of work, while a request waits."""

    def __init__(self, work_s: Callable[[], float]) -> None:
        self._work_s = work_s
        self._begin()

    def is_certain(self) -> bool:
        """Whether no work was done for the last `OBSERVATION_S` seconds. False between two readings."""
        elapsed_s = time.monotonic() - self._began
        if elapsed_s < OBSERVATION_S:
            return False
        still = self._work_s() - self._before < _MIN_BUSY_CORES * elapsed_s
        self._begin()
        return still

    def _begin(self) -> None:
        self._began, self._before = time.monotonic(), self._work_s()
