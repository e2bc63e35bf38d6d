"""Minutes of mixed load: neither the server's processes nor the client grow or leak descriptors.

`make test-soak`; $SENTRITON_SOAK has the seconds.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from sentriton import InvalidInput, protocol
from sentriton.connection import Connection
from sentriton.tokenization import pack_rows
from tests.faults.conftest import Served, check, note
from tests.faults.load import Load

SECONDS = float(os.environ.get("SENTRITON_SOAK", "600"))
WARM_UP_S = min(200.0, SECONDS / 3)  # heaps, pools and shared memory find their size
MOST_GROWTH = 0.05
MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """The resources of a process at a moment: bytes in memory, open descriptors."""

    resident: int
    descriptors: int


def sample(served: Served) -> dict[str, Sample]:
    processes = {served.name_of(process): process for process in served.processes()}
    processes |= {"launcher": served.launcher, "client": psutil.Process()}
    return {name: Sample(process.memory_info().rss, process.num_fds()) for name, process in processes.items()}


def typical(samples: list[Sample]) -> Sample:
    """The medians."""
    return Sample(int(median(each.resident for each in samples)), int(median(each.descriptors for each in samples)))


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 300)
def test_nothing_grows(served: Served, expected: NDArray[np.float32]) -> None:
    pids = {process.pid for process in served.processes()}
    samples: list[dict[str, Sample]] = []
    bad = 0
    connection = Connection(served.url)
    outside_vocabulary = protocol.tokens_request(pack_rows([[-1]]))
    with Load(served.url, expected) as load:
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < SECONDS:
            time.sleep(1)
            with pytest.raises(InvalidInput):
                connection.infer(outside_vocabulary, 30)
            bad += 1
            if elapsed > WARM_UP_S:
                samples.append(sample(served))
    connection.close()
    check(f"soak of {SECONDS:.0f} s", load)
    note("soak", f"{load.figures.right:,} calls right, {bad:,} bad requests refused")
    note("  a tenth of the time each", f"at the start (after {WARM_UP_S:.0f} s) and at the end")
    grown = []
    part = max(1, len(samples) // 10)
    for name in samples[0]:
        start, end = (typical([each[name] for each in some]) for some in (samples[:part], samples[-part:]))
        growth = end.resident / start.resident - 1
        sizes = f"{start.resident / MIB:.0f} and {end.resident / MIB:.0f} MiB ({growth:+.1%})"
        note(f"  {name}", f"{sizes}, {start.descriptors} and {end.descriptors} descriptors")
        if growth > MOST_GROWTH or end.descriptors > start.descriptors + 2:
            grown.append(name)
    assert not grown, grown
    assert {process.pid for process in served.processes()} == pids
