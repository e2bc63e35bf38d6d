"""Measures the memory of a piece of work in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Growth:
    """`mib` is the peak growth of the process during the work."""

    mib: float = 0.0


@contextmanager
def growth() -> Iterator[Growth]:
    """Measure the peak growth of resident memory (Linux) during the work inside."""
    grown = Growth()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before_mib = _mebibytes("VmRSS")
    yield grown
    grown.mib = _mebibytes("VmHWM") - before_mib


def _mebibytes(name: str) -> float:
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024
