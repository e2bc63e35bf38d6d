"""Processes that are killed at any moment, the start of the server included: it serves again within 15 s."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder, SentritonError
from sentriton_server.serving import ServerSettings
from sentriton_server.serving.scratch import SHARED_MEMORY
from tests.commands import SENTRITON
from tests.faults.conftest import BUSY_RECOVERY_S, STUB, note, recovery_bound_s
from tests.faults.load import SENTENCES
from tests.ports import with_free_ports

MOMENTS = 20


def name_of(process: psutil.Process) -> str:
    """The name of a process; nothing for one that has ended."""
    try:
        return process.name() if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.NoSuchProcess:
        return ""


class Starting:
    """A `sentriton serve` from its first moment on."""

    def __init__(self, source: Path, folder: Path, *arguments: object) -> None:
        port = with_free_ports(ServerSettings(grpc_port=0)).grpc_port
        self.url = f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [SENTRITON, "serve", str(source), "--grpc-port", str(port), "--metrics-port", "0", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        self.launcher = psutil.Process(self.process.pid)

    def processes(self) -> list[psutil.Process]:
        """Triton and its stubs, as they are now."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for triton in self.launcher.children():
                if triton.name() == "tritonserver":
                    # A stub has children for moments: the loader's, while Python finds its libraries.
                    found += [triton, *(child for child in triton.children() if name_of(child) == STUB)]
        return found

    def kill(self, choice: random.Random) -> list[str]:
        """Kill one or two of Triton and its stubs, as soon as one is alive. Returns their names."""
        deadline = time.monotonic() + 20
        while not (alive := [each for each in self.processes() if name_of(each)]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        victims = choice.sample(alive, min(len(alive), choice.randint(1, 2)))
        names = []
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                names.append(victim.name() if victim.name() == "tritonserver" else victim.cmdline()[-2])
                victim.kill()
        return names

    def recovery_s(self, expected: NDArray[np.float32], since: float) -> float:
        """Seconds from `since` until an answer that was asked for later is right."""
        while time.monotonic() - since < BUSY_RECOVERY_S:
            with suppress(SentritonError), SentenceEncoder(self.url, timeout_s=2) as encoder:
                if np.allclose(encoder.encode(SENTENCES[:4]), expected[:4], atol=1e-5):
                    return time.monotonic() - since
            time.sleep(0.05)
        raise AssertionError(f"no right answer within {BUSY_RECOVERY_S} s")


@contextmanager
def starting(source: Path, folder: Path, *arguments: object) -> Iterator[Starting]:
    server = Starting(source, folder, *arguments)
    said = ""
    try:
        yield server
    finally:
        scratch = [f"{path.name}_" for path in folder.iterdir()]
        server.process.terminate()
        try:
            _, said = server.process.communicate(timeout=45)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.communicate()
        print(said)
    assert server.process.returncode == 0, said
    assert list(folder.iterdir()) == [], "something was left behind"
    assert not [path for path in SHARED_MEMORY.iterdir() if path.name.startswith(tuple(scratch))]


# After the first stub appeared: while models load, and when they are all but ready.
@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.2])
def test_a_stub_that_is_killed_while_the_server_starts(
    after_s: float, repository: Path, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    with starting(repository, tmp_path) as server:
        deadline = time.monotonic() + 20
        while not (stubs := [each for each in server.processes() if name_of(each) == STUB]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(after_s)
        victim = stubs[0]
        victim.kill()
        recovery_s = server.recovery_s(expected, time.monotonic())
    note(f"SIGKILL of a stub {after_s} s after it appeared", f"served after {recovery_s:.1f} s")
    assert recovery_s <= recovery_bound_s()


@pytest.mark.slow
def test_kills_at_twenty_moments(repository: Path, expected: NDArray[np.float32], tmp_path: Path) -> None:
    choice = random.Random(20)
    longest_s = 0.0
    # Kills come faster here than a server fails that is worth another start.
    with starting(repository, tmp_path, "--restarts", 1000) as server:
        for moment in range(MOMENTS):
            time.sleep(0.2 * moment)
            killed = [*server.kill(choice)]
            recovery_s = server.recovery_s(expected, time.monotonic())
            print(f"{0.2 * moment:.1f} s after the kill before: {', '.join(killed)} killed, {recovery_s:.1f} s")
            longest_s = max(longest_s, recovery_s)
            with suppress(psutil.NoSuchProcess):
                server.kill(random.Random(1))  # the next moment is counted from here
        server.recovery_s(expected, time.monotonic())
    note(f"kills at {MOMENTS} moments, two at once included", f"served after at most {longest_s:.1f} s")
    assert longest_s <= recovery_bound_s()
