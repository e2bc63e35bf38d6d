"""The output of `sentriton serve`: one line when it serves, one error when it fails."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sentriton import SentenceEncoder
from sentriton_server.serving import ServerSettings, Supervisor, TritonServer
from tests.bounds import bound_s
from tests.commands import SENTRITON
from tests.hanging import unkillable
from tests.ports import FREE_PORT_FLAGS, FREE_PORTS, with_free_ports
from tests.server.serve_command import running, serve, wait_until_gone
from tests.waiting import until


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """A soft limit of 256 for the processes that a test starts. It yields the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_and_shuts_down_cleanly(repository: Path, number: signal.Signals, few_descriptors: int) -> None:
    started = time.monotonic()
    # A proxy as many companies have one. It must not be asked for this machine.
    with running(repository, environment={"http_proxy": "http://127.0.0.1:9"}) as (process, line, processes):
        ready_s = time.monotonic() - started
        match = re.fullmatch(
            r"serving (\S+) at (127\.0\.0\.1:\d+) \((\w+) on (\w+), \d+ dimensions\), ready in [\d.]+ s\n", line
        )
        assert match, line
        with SentenceEncoder(match[2]) as encoder:
            assert encoder.encode("준비되었다는 줄이 나오면 바로 답한다.").shape == (encoder.manifest.dimension,)
        assert len(processes) > 4
        (triton,) = [one for one in processes if one.name() == "tritonserver"]
        # Every idle connection takes one. Without a free one, new callers wait.
        assert triton.rlimit(psutil.RLIMIT_NOFILE)[0] == min(few_descriptors, 65_536)
        process.send_signal(number)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0
        assert not wait_until_gone(processes, 5)
    assert not re.search(r"^[\d:]+ (warning|error)", log, re.MULTILINE), log
    print(f"\nready in {ready_s:.1f} s")
    assert ready_s < bound_s(15, 60)


def test_an_interrupt_whose_exception_was_swallowed_still_ends_the_server(repository: Path) -> None:
    # A KeyboardInterrupt inside a C library's callback is printed and lost, but the event remains.
    interrupted = threading.Event()
    server = TritonServer(repository, FREE_PORTS)
    with server:
        interrupted.set()
        with pytest.raises(KeyboardInterrupt):
            Supervisor(server, print).run(interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.start(interrupted)
    assert server.process is None


def test_a_triton_that_ends_by_itself_is_an_error(repository: Path) -> None:
    with running(repository, "--restarts", 0) as (process, _, processes):
        triton = next(child for child in processes if child.name() == "tritonserver")
        triton.kill()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "Triton ended by itself with exit code -9" in errors


def test_a_triton_that_cannot_be_killed_ends_serve(repository: Path, tmp_path: Path) -> None:
    """Kubernetes then starts the container again, or reports that it does not end."""
    ready = tmp_path / "ready"
    with running(repository, "--ready-file", ready) as (process, _, processes):
        triton = next(child for child in processes if child.name() == "tritonserver")
        until(ready.exists)
        with unkillable(triton.pid):
            next(child for child in processes if child.name() == "triton_python_backend_stub").kill()
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Traceback" not in errors
        last = errors.splitlines()[-1]
        assert re.match(r"error: Triton's Python stub \w+ ended by itself; Triton \(process \d+\) has not ended", last)
        assert not ready.exists()
        assert not wait_until_gone(processes, 5)


def test_of_two_launchers_with_one_port_one_serves_and_one_says_why_not(repository: Path) -> None:
    port = with_free_ports(ServerSettings(grpc_port=0)).grpc_port
    both = [serve(repository, "--grpc-port", port, "--metrics-port", 0) for _ in range(2)]
    try:
        until(lambda: any(process.poll() is not None for process in both), 60)
        (loser,) = [process for process in both if process.poll() is not None]
        _, errors = loser.communicate()
        assert f"error: port {port} on 127.0.0.1 cannot be used" in errors
        assert "choose another with --grpc-port" in errors
        (winner,) = [process for process in both if process is not loser]
        assert winner.stdout is not None
        assert f"at 127.0.0.1:{port} " in winner.stdout.readline()
    finally:
        for process in both:
            process.kill()
            process.communicate()


def test_no_code_of_the_current_folder_runs_nor_of_its_name(repository: Path, tmp_path: Path) -> None:
    ran, here = tmp_path / "ran", tmp_path / "here"
    here.mkdir()
    for module in ("json", "metrics", "cache"):
        (here / f"{module}.py").write_text(f"open({str(ran)!r}, 'a').write('{module} ')\n", encoding="utf-8")
    # Triton starts its stubs by a shell.
    name = "모델 $(touch ran)"
    shutil.copytree(repository, here / name)
    process = subprocess.Popen(
        [SENTRITON, "serve", name, *FREE_PORT_FLAGS],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert not ran.exists(), ran.read_text()
        assert line.startswith("serving "), process.communicate(timeout=10)
    finally:
        process.terminate()
        process.communicate()


def test_a_signal_that_is_ignored_stays_ignored(repository: Path) -> None:
    process = subprocess.Popen(
        ["nohup", SENTRITON, "serve", str(repository), *FREE_PORT_FLAGS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving ")
        status = Path(f"/proc/{process.pid}/status").read_text()
        ignored = int(re.search(r"SigIgn:\s+(\w+)", status)[1], 16)  # type: ignore[index]
        assert ignored & 1 << (signal.SIGHUP - 1)
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


def test_a_server_outlives_the_terminal_that_it_was_started_from(repository: Path) -> None:
    with running(repository) as (process, line, processes):
        url = line.split(" at ")[1].split(" ")[0]
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        stub = next(child for child in processes if child.name() == "triton_python_backend_stub")
        # Connected before the restart, since a new encoder fails at once without a server, while calls wait.
        with SentenceEncoder(url, timeout_s=30) as encoder:
            stub.kill()
            assert encoder.encode("x").shape == (encoder.manifest.dimension,)
        assert process.poll() is None
        process.stdout = process.stderr = None  # closed, so that the end reads nothing
