"""After any end of a launcher, its processes, folders and shared memory are removed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from sentriton_server.serving import TritonServer
from sentriton_server.serving.scratch import SHARED_MEMORY, Scratch
from tests.ports import FREE_PORT_FLAGS, FREE_PORTS
from tests.server.left_behind import left_behind, python_instances, require_end
from tests.server.serve_command import running, serve, wait_until_gone


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """The Tritons that this process starts. At each start it gets a SIGTERM before `Popen` returns."""
    found: list[subprocess.Popen[str]] = []

    class Popen(subprocess.Popen[str]):
        def __init__(self, arguments: list[str], **options: Any) -> None:
            super().__init__(arguments, **options)
            if any(Path(each).name == "tritonserver" for each in arguments):
                found.append(self)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)  # time for an exception of the signal's handler

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return found


def test_a_signal_at_the_moment_of_its_start_ends_triton(
    repository: Path, started: list[subprocess.Popen[str]]
) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            TritonServer(repository, FREE_PORTS).start()
    finally:
        signal.signal(signal.SIGTERM, before)
    (triton,) = started
    require_end(triton.pid)


def test_a_triton_whose_log_nobody_can_read_is_ended(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    start, start_thread = Scratch.start, threading.Thread.start

    def noted(scratch: Scratch, command: list[str], **options: Any) -> subprocess.Popen[str]:
        started.append(start(scratch, command, **options))
        return started[-1]

    def refuse(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        start_thread(thread)

    monkeypatch.setattr(Scratch, "start", noted)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        TritonServer(repository, FREE_PORTS).start()
    (triton,) = started
    require_end(triton.pid)


def test_nothing_is_left_when_the_launcher_itself_is_killed(repository: Path, tmp_path: Path) -> None:
    with running(repository, environment={"TMPDIR": str(tmp_path)}) as (process, _, processes):
        (scratch,) = tmp_path.glob("sentriton-*")
        process.kill()
        assert not wait_until_gone(processes, 40)
        assert not left_behind(scratch)


@pytest.mark.parametrize("stubs", [0, 1, 4])
def test_nothing_is_left_when_the_launcher_is_killed_while_triton_loads(
    stubs: int, repository: Path, tmp_path: Path
) -> None:
    process = serve(repository, *FREE_PORT_FLAGS, TMPDIR=str(tmp_path))
    launcher = psutil.Process(process.pid)
    started = time.monotonic()
    while True:
        try:
            processes = launcher.children(recursive=True)
            names = [child.name() for child in processes]
        except psutil.NoSuchProcess:  # a child that ended meanwhile
            continue
        if "tritonserver" in names and names.count("triton_python_backend_stub") >= stubs:
            break
        assert time.monotonic() - started < 60
    (scratch,) = tmp_path.glob("sentriton-*")
    process.kill()
    process.communicate()
    # Stubs that started later are in Triton's group as well.
    group = next(child.pid for child in processes if child.name() == "tritonserver")
    assert not wait_until_gone(processes, 50)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert not left_behind(scratch)


def test_what_a_dead_server_left_is_removed_by_the_next(repository: Path, tmp_path: Path) -> None:
    # Launcher and guard are both killed: no process cleans up until the next start.
    with running(repository, environment={"TMPDIR": str(tmp_path)}) as (process, _, processes):
        (scratch,) = tmp_path.glob("sentriton-*")
        for victim in (*(child for child in processes if child.name() == "sh"), psutil.Process(process.pid)):
            victim.kill()
        process.wait()
        for child in processes:
            if child.is_running():
                child.kill()
        psutil.wait_procs(processes, timeout=10)
        assert len(list(SHARED_MEMORY.glob(f"{scratch.name}_*"))) == python_instances(repository)
    with running(repository, environment={"TMPDIR": str(tmp_path)}):
        assert not left_behind(scratch)
