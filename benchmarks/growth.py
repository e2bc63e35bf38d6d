"""How much memory a piece of work takes in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Growth:
    """`mib`: by how much the process was larger at most than before, once the work is done."""

    mib: float = 0.0


@contextmanager
def growth() -> Iterator[Growth]:
    """The most memory (resident, Linux) that the work inside takes beyond that of the process before it."""
    grown = Growth()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before_mib = _mebibytes("VmRSS")
    yield grown
    grown.mib = _mebibytes("VmHWM") - before_mib


def _mebibytes(name: str) -> float:
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024
