"""Ten times the sustainable load: the server answers as many requests as before, and rejects the others at once.

A client that retries gets all its answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder
from tests.faults.conftest import Served, note
from tests.faults.flood import ROWS, Flood, Outcomes, resident_bytes
from tests.faults.load import SENTENCES

SECONDS = 6.0  # an answer is 64 rows, so in three seconds one answer is 2 %
ROUNDS = 5
DEADLINE_S = 3.0


def measure(served: Served, outcomes: Outcomes) -> tuple[float, float]:
    """Answered rows per second, and per second of the server's CPU time, over the next `SECONDS`."""
    before, started, cpu = len(outcomes.answered), time.monotonic(), cpu_seconds(served.processes())
    time.sleep(SECONDS)
    rows = ROWS * (len(outcomes.answered) - before)
    return rows / (time.monotonic() - started), rows / (cpu_seconds(served.processes()) - cpu)


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@pytest.mark.slow
def test_ten_times_the_sustainable_load(served: Served) -> None:
    # In turns, and the best of each, since the machine's speed may change within seconds.
    peak, overloaded = np.zeros(2), np.zeros(2)
    grown = 0.0
    floods: list[Outcomes] = []
    for _ in range(ROUNDS):
        with Flood(served.url, in_flight=8) as sustainable:
            time.sleep(2)
            peak = np.maximum(peak, measure(served, sustainable.outcomes))
        with Flood(served.url, rate=10 * peak[0] / ROWS, deadline_s=DEADLINE_S) as flood:
            time.sleep(DEADLINE_S)
            memory = resident_bytes(served.processes())
            overloaded = np.maximum(overloaded, measure(served, flood.outcomes))
            grown = max(grown, resident_bytes(served.processes()) / memory - 1)
        floods.append(flood.outcomes)
    refused, answered = (
        [took for flood in floods for took in getattr(flood, what)] for what in ("refused", "answered")
    )
    errors = [error for flood in floods for error in flood.errors]
    note(
        "overload",
        f"{peak[0]:.0f} rows/s at most; of ten times as many, {overloaded[0]:.0f} rows/s answered "
        f"({overloaded[0] / peak[0]:.0%}; for each second of the server's CPU time {overloaded[1] / peak[1]:.0%}), "
        f"{len(refused):,} requests turned away after {1e3 * np.median(refused):.0f} ms at the median, "
        f"{len(answered):,} answered, {len(errors):,} too late; memory {grown:+.1%} from {memory >> 20} MiB",
    )
    # By the server's CPU time, since the sender of the load uses the same cores.
    assert overloaded[1] >= 0.9 * peak[1]
    assert overloaded[0] >= 0.7 * peak[0]
    assert np.median(refused) < 0.25
    assert len(errors) < 0.1 * (len(refused) + len(answered)), errors[:3]
    assert grown < 0.05


@pytest.mark.slow
def test_a_client_finishes_what_its_deadline_allows(served: Served, expected: NDArray[np.float32]) -> None:
    # Four concurrent calls, and a flood of ten times the sustainable load.
    with Flood(served.url, in_flight=8) as sustainable:
        time.sleep(1)
        peak, _ = measure(served, sustainable.outcomes)

    def embed(encoder: SentenceEncoder) -> float:
        started = time.monotonic()
        np.testing.assert_allclose(encoder.encode(SENTENCES * 2), np.tile(expected, (2, 1)), atol=1e-5)
        return time.monotonic() - started

    encoders = [SentenceEncoder(served.url, priority="bulk", timeout_s=60) for _ in range(4)]
    with Flood(served.url, rate=10 * peak / ROWS, deadline_s=DEADLINE_S) as flood, ThreadPoolExecutor(4) as pool:
        time.sleep(DEADLINE_S)
        took = list(pool.map(embed, encoders))
    for encoder in encoders:
        encoder.close()
    note("clients in the overload", f"4 calls of 128 sentences done after {max(took):.1f} s of the 60 s they may take")
    assert flood.outcomes.refused, "the load did not exceed the server's capacity"
