"""An encoder counts as hung if it uses no processor time while a request waits."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain, repeat

import pytest

from sentriton_server.serving import stillness
from sentriton_server.serving.stillness import OBSERVATION_S, Stillness, work_s
from tests.waiting import until


def test_work_is_the_time_of_all_processes() -> None:
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        pids = [process.pid for process in spinning]
        until(lambda: work_s(pids) >= 0.5)
        assert work_s(pids) == pytest.approx(work_s(pids[:1]) + work_s(pids[1:]), abs=0.2)
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_a_process_that_ended_did_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert work_s([ended.pid]) == 0
    assert work_s([os.getpid()]) > 0


@pytest.mark.parametrize(
    ("spent_s", "certain"),
    [(0.0, True), (0.01 * OBSERVATION_S, True), (0.2 * OBSERVATION_S, False), (2 * OBSERVATION_S, False)],
    ids=["nothing", "an idle server", "a starved server", "a server at work"],
)
def test_stillness_needs_a_whole_look(spent_s: float, certain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(stillness.time, "monotonic", lambda: now[0])
    work = chain([7.0], repeat(7.0 + spent_s))
    look = Stillness(lambda: next(work))
    now[0] += OBSERVATION_S / 2
    assert not look.is_certain()
    now[0] += OBSERVATION_S / 2
    assert look.is_certain() == certain
    assert not look.is_certain(), "each look begins anew"
