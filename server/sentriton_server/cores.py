"""How many processor cores a server may use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """What OpenMP is told in `$OMP_NUM_THREADS` (the server may run elsewhere, or get less than all of a machine); else
    the cores of this process's affinity, or the whole ones of its control group's quota (cgroup v2) where that is less.
    """
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if told.isdecimal() and int(told) > 0:
        return int(told)
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
    except OSError:
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
