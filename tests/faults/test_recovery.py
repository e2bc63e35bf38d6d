"""Parts of the server die or hang under load: every call ends with the right vectors, in time."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder, protocol
from tests.faults.attacks import send_all
from tests.faults.conftest import BUSY_RECOVERY_S, Served, check, serve
from tests.faults.load import SENTENCES, Load
from tests.faults.proxy import FaultyProxy
from tests.waiting import until


@pytest.mark.parametrize("victim", ["encoder", "pooling", "embed_text", "embed_tokens", "triton"])
def test_a_killed_process_is_started_again_and_nothing_is_lost(
    victim: str, mortal: Served, expected: NDArray[np.float32]
) -> None:
    before = len(mortal.said)
    with Load(mortal.url, expected) as load:
        time.sleep(0.5)
        mortal.process(victim).kill()
        killed = time.monotonic()
        # Only one of the callers needs the server's tokenizer, but the restart affects all.
        until(lambda: mortal.restarts(before) == 1, BUSY_RECOVERY_S, f"no restart: {mortal.said[before:]}")
        recovery_s = load.recovery_s(killed)
        recovery_s = max(recovery_s, time.monotonic() - killed)
    check(f"SIGKILL of {victim}", load, recovery_s)
    assert any((victim if victim != "triton" else "exit code -9") in line for line in mortal.said[before:])


def test_a_triton_that_crashes_is_replaced_before_it_has_printed_its_stack(
    mortal: Served, expected: NDArray[np.float32]
) -> None:
    before = len(mortal.said)
    with Load(mortal.url, expected) as load:
        time.sleep(0.5)
        mortal.process("triton").send_signal(signal.SIGSEGV)
        crashed = time.monotonic()
        until(lambda: mortal.restarts(before) == 1, BUSY_RECOVERY_S, f"no restart: {mortal.said[before:]}")
        recovery_s = max(load.recovery_s(crashed), time.monotonic() - crashed)
    check("SIGSEGV of triton", load, recovery_s)
    assert any("Triton crashed (signal 11)" in line for line in mortal.said[before:]), mortal.said


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["encoder", "triton"])
def test_a_process_that_stands_still_for_ten_seconds(
    victim: str, mortal: Served, expected: NDArray[np.float32]
) -> None:
    # In Triton 24.10, a stub that continues after a hang gives its old answer to the next request.
    before = len(mortal.said)
    with Load(mortal.url, expected) as load:
        time.sleep(0.5)
        process = mortal.process(victim)
        process.send_signal(signal.SIGSTOP)
        time.sleep(10)
        with contextlib.suppress(psutil.NoSuchProcess):  # a stub has been replaced by then
            process.send_signal(signal.SIGCONT)
        recovery_s = load.recovery_s(time.monotonic())
    check(f"SIGSTOP of {victim} for 10 s", load, recovery_s)
    blamed = any("Python stub encoder_0_0 hung" in line for line in mortal.said[before:])
    assert blamed == (victim == "encoder")


@pytest.fixture
def proxy(served: Served) -> Iterator[FaultyProxy]:
    with FaultyProxy(served.url) as proxy:
        yield proxy


def test_connections_that_are_reset(proxy: FaultyProxy, expected: NDArray[np.float32]) -> None:
    with Load(proxy.url, expected) as load:
        for _ in range(10):
            time.sleep(0.4)
            proxy.reset()
        recovery_s = load.recovery_s(time.monotonic())
    check("10 connection resets", load, recovery_s)
    assert proxy.connections > 10


def test_a_network_that_stalls(proxy: FaultyProxy, expected: NDArray[np.float32]) -> None:
    with Load(proxy.url, expected) as load:
        time.sleep(0.5)
        proxy.stall(5)
        recovery_s = load.recovery_s(time.monotonic())
    check("5 s without a packet", load, recovery_s)
    assert load.figures.longest_s > 4.5


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["encoder", "pooling", "embed_text", "embed_tokens", "triton"])
def test_a_server_that_hangs_for_good_is_started_again(
    victim: str, repository: Path, expected: NDArray[np.float32]
) -> None:
    with serve(repository) as served, Load(served.url, expected) as load:
        time.sleep(0.5)
        served.process(victim).send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        until(lambda: served.restarts() == 1, BUSY_RECOVERY_S, "a server that hangs was not restarted")
        load.recovery_s(stopped)
        recovery_s = time.monotonic() - stopped
    check(f"SIGSTOP of {victim} for good", load, recovery_s)
    # Either a request that Triton abandons or the canary finds it first.
    told = (" hung", "is not healthy", "Triton hangs")
    assert any(words in line for line in served.said for words in told), served.said


def test_a_crash_loop_ends_with_a_clear_error(repository: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with serve(repository, "--restarts", 2, "--ready-file", ready) as served:
        until(ready.exists, 5, "not ready")
        assert ready.read_text().strip() == served.url
        for restart in range(3):
            until(ready.exists, BUSY_RECOVERY_S, "not ready again")
            served.process("triton").kill()
            if restart < 2:
                until(lambda: not ready.exists(), 5, "a dead server called itself ready")
        assert served.launcher.wait(20) == 1
    assert not ready.exists()
    last = served.said[-1]
    assert last.startswith("error: Triton failed 3 times in a row and is not restarted (--restarts 2), at last: ")
    assert "exit code -9" in last


def test_a_server_that_is_busy_is_left_alone(repository: Path, expected: NDArray[np.float32]) -> None:
    # A canary timeout of half a second, and enough requests that the canary waits longer.
    request = protocol.text_request(SENTENCES, protocol.parameters(priority="bulk", timeout_s=5))
    with serve(repository, "--canary-period-s", 0.2, "--canary-timeout-s", 0.5) as served:

        def is_slow() -> bool:
            return any(line.startswith("the server is slow") for line in served.said)

        # A canary that begins between two rounds need not wait.
        rounds = 0
        while rounds < 3 or (rounds < 10 and not is_slow()):
            rounds += 1
            assert set(send_all(served.url, [request] * 2000)) <= {"OK", "UNAVAILABLE"}
        assert is_slow(), served.said
        assert served.restarts() == 0, served.said
        with SentenceEncoder(served.url) as encoder:
            np.testing.assert_allclose(encoder.encode(SENTENCES), expected, atol=1e-5)
