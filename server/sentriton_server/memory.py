"""The memory that a process may use."""

from __future__ import annotations

from pathlib import Path

import psutil

GIB = 1 << 30


def available_memory() -> int:
    """Bytes that this process may still use: the machine's free memory, or the rest of the cgroup's limit."""
    available = int(psutil.virtual_memory().available)
    for limit, usage in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            available = min(available, int(Path(limit).read_text()) - int(Path(usage).read_text()))
        except (OSError, ValueError):  # the machine has another cgroup version, or the limit is "max"
            continue
    return available
