"""One caller does its worst while four others compare vectors: none of them gets an error or a wrong vector, and no
process ends.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.faults.attacks import ATTACKS
from tests.faults.conftest import Served, check, note
from tests.faults.load import Load

# What the attacker may be told: nothing that says that the server failed.
CLEAR = {"OK", "INVALID_ARGUMENT", "UNAVAILABLE"}
LEAST_S = 4.0


def attack(served: Served, name: str, expected: NDArray[np.float32]) -> Load:
    """Callers whose calls were under way during an attack, and checks of what it did."""
    pids = {process.pid for process in served.processes()}
    with Load(served.url, expected) as load:
        begun = time.monotonic()
        outcomes = ATTACKS[name](served.url)
        time.sleep(max(0.0, LEAST_S - (time.monotonic() - begun)))
    note(f"attack: {name}", ", ".join(f"{count:,} {status}" for status, count in outcomes.most_common()))
    check(name, load)
    assert {process.pid for process in served.processes()} == pids, served.said
    assert served.restarts() == 0
    assert not load.figures.refusals, load.figures.refusals[:3]
    # Without its key the encoder, stock or stand-in, can say INTERNAL alone.
    assert set(outcomes) <= CLEAR | ({"INTERNAL"} if "inner" in name else set()), outcomes
    return load


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_harms_nobody_else(name: str, served: Served, expected: NDArray[np.float32]) -> None:
    attack(served, name, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_others_wait_at_most_five_times_as_long(name: str, served: Served, expected: NDArray[np.float32]) -> None:
    with Load(served.url, expected) as idle:
        time.sleep(LEAST_S)
    attacked = attack(served, name, expected)
    before_s, during_s = idle.figures.p99_s, attacked.figures.p99_s
    note(f"  p99 of others during {name}", f"{1e3 * during_s:.0f} ms, idle {1e3 * before_s:.0f} ms")
    assert during_s <= 5 * before_s
