"""A process that SIGKILL does not end: the wait for it has a limit, and its clean-up continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sentriton_server.killed import StillRunning
from sentriton_server.serving.launcher import TritonServer
from sentriton_server.serving.process import TritonProcess
from sentriton_server.serving.supervisor import Supervisor
from tests.hanging import unkillable
from tests.ports import FREE_PORTS, with_free_ports
from tests.unit.test_supervisor import Server
from tests.waiting import until

# Kills a Triton in the presence of a tracer, which must not be its parent.
_LAUNCHER = """
import sys
from pathlib import Path
from sentriton_server.killed import StillRunning
from sentriton_server.serving.process import TritonProcess
from tests.ports import FREE_PORTS, with_free_ports

triton = TritonProcess(Path(sys.argv[1]), with_free_ports(FREE_PORTS))
print(triton.pid, triton.shared_memory_prefix, flush=True)
input()
try:
    triton.kill(1.0)
except StillRunning as error:
    print(error)
"""


@pytest.fixture
def triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program on PATH in Triton's place."""
    program = tmp_path / "bin/tritonserver"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_a_failure_before_the_kill_is_shown_at_once() -> None:
    command = ["sh", "-c", "sleep 20 & echo $!; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        began = time.monotonic()
        with pytest.raises(ZeroDivisionError), unkillable(int(parent.stdout.readline())):
            _ = 1 / 0
    assert time.monotonic() - began < 10


def test_the_wait_for_a_killed_triton_has_a_limit(triton: Path) -> None:
    triton.write_text("#!/bin/sh\nexec sleep 60\n")
    command = [sys.executable, "-c", _LAUNCHER, str(triton.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pid, prefix = launcher.stdout.readline().split()
        try:
            with unkillable(int(pid)):
                began = time.monotonic()
                said, _ = launcher.communicate("\n", timeout=20)
                took_s = time.monotonic() - began
        finally:
            launcher.kill()
    assert said.startswith(f"Triton (process {pid}) has not ended 1 s after SIGKILL"), said
    assert took_s < 5, "it does not wait for the pipe, which the process keeps open"
    assert not list(Path("/tmp").glob(f"{prefix.rstrip('_')}*")), "its files are removed nevertheless"


def test_a_part_of_triton_that_does_not_end_does_not_stop_the_kill(triton: Path) -> None:
    """It keeps the pipe of Triton's log open."""
    triton.write_text("#!/bin/sh\nsetsid sh -c 'echo $$; exec sleep 60' &\nexec sleep 60\n")
    process = TritonProcess(triton.parent, with_free_ports(FREE_PORTS))
    until(process.log)
    stub = int(process.log()[0].message)
    killer = threading.Thread(target=process.kill, daemon=True)
    killer.start()
    killer.join(12)
    ended = not killer.is_alive()
    os.kill(stub, signal.SIGKILL)
    killer.join()
    assert ended


def test_a_server_whose_triton_does_not_end_releases_its_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(process: TritonProcess) -> None:
        raise StillRunning("Triton (process 1) has not ended")

    monkeypatch.setattr(TritonProcess, "stop", stop)
    server = TritonServer.__new__(TritonServer)
    server.process = TritonProcess.__new__(TritonProcess)
    server._canary, server._scratch, released = None, None, []
    server._ports = SimpleNamespace(release=lambda: released.append(True))  # type: ignore[assignment]
    with pytest.raises(StillRunning):
        server.stop()
    assert released


def test_a_triton_that_cannot_be_killed_is_not_started_again() -> None:
    server = Server()
    server.ended, server.kill_error = "Triton ended", StillRunning("Triton (process 1) has not ended")
    with pytest.raises(StillRunning, match=r"^Triton ended; Triton \(process 1\) has not ended$"):
        Supervisor(server, print).run(threading.Event())  # type: ignore[arg-type]
    assert server.starts == 0
