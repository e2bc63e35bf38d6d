"""`sentriton serve` as its user meets it: one line when it serves, one sentence when it cannot, nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from sentriton import SentenceEncoder
from sentriton.settings import ClientSettings
from sentriton_server.repository import MODELS, RepositoryError, read_config, record_files
from sentriton_server.serving import ServerSettings, Supervisor, TritonServer, prepare_repository
from sentriton_server.serving.canary import Canary, OtherServer
from sentriton_server.serving.progress import read_work
from sentriton_server.serving.scratch import SHARED_MEMORY, Scratch
from tests.bounds import bound_s
from tests.ports import with_free_ports
from tests.server.conftest import RunningServer

SENTRITON = str(Path(sys.executable).parent / "sentriton")
FREE_PORTS = ("--grpc-port", "0", "--metrics-port", "0")


@pytest.fixture(scope="module")
def repository() -> Path:
    """The bundled checkpoint, exported."""
    return prepare_repository(None, precision="fp32", device="cpu")


def serve(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SENTRITON, "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def fails(*arguments: object, **environment: str) -> str:
    """What a `serve` that cannot work says; it must be one sentence, and the exit code not 0."""
    process = serve(*arguments, **environment)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


@contextmanager
def running(
    *arguments: object, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str, list[psutil.Process]]]:
    """A `serve` that is ready: its process, its line, and all processes below it."""
    process = serve(*arguments, *FREE_PORTS, **(environment or {}))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=10)[1]
        yield process, line, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate()


def wait_until_gone(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_and_shuts_down_cleanly(repository: Path, number: signal.Signals) -> None:
    started = time.monotonic()
    with running(repository) as (process, line, processes):
        ready_s = time.monotonic() - started
        match = re.fullmatch(
            r"serving (\S+) at (127\.0\.0\.1:\d+) \((\w+) on (\w+), \d+ dimensions\), ready in [\d.]+ s\n", line
        )
        assert match, line
        with SentenceEncoder(match[2]) as encoder:
            assert encoder.encode("준비되었다는 줄이 나오면 바로 답한다.").shape == (encoder.manifest.dimension,)
        assert len(processes) > 4
        process.send_signal(number)
        assert process.wait(30) == 0
        assert not wait_until_gone(processes, 5)
    print(f"\nready in {ready_s:.1f} s")
    assert ready_s < bound_s(15, 60)


@pytest.fixture(scope="module")
def fresh(repository: Path) -> Iterator[TritonServer]:
    """A server that nobody called before the first of the tests below; the last of them kills it."""
    with TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)) as server:
        yield server


def test_rows_of_many_lengths_go_through_before_a_server_is_ready(fresh: TritonServer) -> None:
    assert fresh.process is not None
    server = RunningServer(fresh.url, fresh.metrics_url, fresh.process.canary_key)
    server.wait_for_counts()
    # Every eighth of 128 lengths, and the golden sentences, which are one request.
    assert server.metric("sentriton_request_seconds_count", lane="canary") >= 1 + 128 // 8
    assert not server.metric("sentriton_requests_total", lane="query")
    # The supervisor reads the same: each part is at work, and the canary had its turns.
    metrics = urlsplit(fresh.metrics_url)
    assert metrics.hostname is not None
    assert metrics.port is not None
    host, port = metrics.hostname, metrics.port
    wait_until(lambda: all(read_work(host, port, 5).values()), 10)  # embed_text publishes its counts by itself


def test_a_canary_knows_its_own_server(fresh: TritonServer) -> None:
    assert fresh.check(0) > 0.999
    with pytest.raises(OtherServer, match=f"{fresh.url} is answered by another server"):
        Canary(ClientSettings(fresh.url), 10, "the key of another").check(10)


def regions(server: TritonServer) -> list[Path]:
    """The shared memory of a server's stubs."""
    assert server.process is not None
    return [path for path in SHARED_MEMORY.iterdir() if path.name.startswith(server.process.shared_memory_prefix)]


def test_only_its_user_reads_a_servers_shared_memory(fresh: TritonServer) -> None:
    assert {path.stat().st_mode & 0o777 for path in regions(fresh)} == {0o600}


def test_a_killed_triton_leaves_nothing(repository: Path, fresh: TritonServer) -> None:
    assert fresh.process is not None
    mine, prefix = regions(fresh), fresh.process.shared_memory_prefix
    assert len(mine) == python_instances(repository)
    os.killpg(fresh.process.pid, signal.SIGKILL)
    fresh.stop()
    assert not [path for path in SHARED_MEMORY.iterdir() if path.name.startswith(prefix)]


def test_an_interrupt_whose_exception_was_swallowed_still_ends_the_server(repository: Path) -> None:
    # A KeyboardInterrupt that strikes inside a C library's callback is printed and lost; the event remains.
    interrupted = threading.Event()
    server = TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0))
    with server:
        interrupted.set()
        with pytest.raises(KeyboardInterrupt):
            Supervisor(server, print).run(interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.start(interrupted)
    assert server.process is None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """The Tritons that this process starts; with each it gets a SIGTERM, before `Popen` has returned."""
    found: list[subprocess.Popen[str]] = []

    class Popen(subprocess.Popen[str]):
        def __init__(self, arguments: list[str], **options: Any) -> None:
            super().__init__(arguments, **options)
            if Path(arguments[0]).name == "tritonserver":
                found.append(self)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)  # an exception of the signal's handler has struck by then

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
            TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)).start()
    finally:
        signal.signal(signal.SIGTERM, before)
    (triton,) = started
    require_end(triton.pid)


def require_end(group: int) -> None:
    """All processes of this group must end soon; they end here."""

    def has_ended() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    try:
        wait_until(has_ended, 5)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def test_a_triton_that_cannot_be_guarded_is_ended(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded: list[int | None] = []

    def guard(scratch: Scratch, pid: int | None) -> None:
        guarded.append(pid)
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(Scratch, "guard", guard)
    with pytest.raises(OSError, match="Resource temporarily unavailable"):
        TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0)).start()
    group = guarded[0]
    assert group is not None
    require_end(group)


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
    process = serve(repository, *FREE_PORTS, TMPDIR=str(tmp_path))
    launcher = psutil.Process(process.pid)
    started = time.monotonic()
    while True:
        try:
            processes = launcher.children(recursive=True)
            names = [child.name() for child in processes]
        except psutil.NoSuchProcess:  # a child that ended between the two looks
            continue
        if "tritonserver" in names and names.count("triton_python_backend_stub") >= stubs:
            break
        assert time.monotonic() - started < 60
    (scratch,) = tmp_path.glob("sentriton-*")
    process.kill()
    process.communicate()
    # Stubs that were started after the look are in Triton's group as well.
    group = next(child.pid for child in processes if child.name() == "tritonserver")
    assert not wait_until_gone(processes, 50)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert not left_behind(scratch)


def python_instances(repository: Path) -> int:
    """Instances of models that run Python: each has a stub, and shared memory of its own."""
    configs = [read_config(repository, model) for model in MODELS]
    return sum(group.count for config in configs for group in config.instance_group)


def left_behind(scratch: Path) -> list[str]:
    """What is there of a server's folder and shared memory, once its guard had a moment."""
    for _ in range(50):
        found = [*scratch.parent.glob(scratch.name), *SHARED_MEMORY.glob(f"{scratch.name}_*")]
        if not found:
            break
        time.sleep(0.1)
    return list(map(str, found))


def test_what_a_dead_server_left_is_removed_by_the_next(repository: Path, tmp_path: Path) -> None:
    # Launcher and guard both killed: nobody cleans up until the next start.
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


def test_a_triton_that_ends_by_itself_is_an_error(repository: Path) -> None:
    with running(repository, "--restarts", 0) as (process, _, processes):
        triton = next(child for child in processes if child.name() == "tritonserver")
        triton.kill()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "Triton ended by itself with exit code -9" in errors


def test_port_in_use(repository: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = fails(repository, "--grpc-port", port, "--metrics-port", 0)
    assert f"port {port} on 127.0.0.1 cannot be used" in message
    assert "--grpc-port" in message


def test_settings_of_security_come_from_flags_and_variables(repository: Path, tmp_path: Path) -> None:
    same = fails(repository, *FREE_PORTS, "--admin-key", "one", SENTRITON_ACCESS_KEY="one")
    assert "$SENTRITON_ACCESS_KEY and --admin-key are the same" in same
    missing = fails(repository, *FREE_PORTS, "--tls-key", "key.pem", SENTRITON_TLS_CERTIFICATE=str(tmp_path / "no.pem"))
    assert f"$SENTRITON_TLS_CERTIFICATE {tmp_path / 'no.pem'} cannot be read (No such file" in missing
    alone = fails(repository, *FREE_PORTS, SENTRITON_CLIENT_ROOT_CERTIFICATES="authority.pem")
    assert "$SENTRITON_CLIENT_ROOT_CERTIFICATES needs --tls-certificate" in alone


def test_unknown_checkpoint() -> None:
    assert "there is no checkpoint at ./nowhere" in fails("./nowhere", *FREE_PORTS)


def test_a_hub_id_that_cannot_be_had(tmp_path: Path) -> None:
    message = fails("nobody/no-such-model", *FREE_PORTS, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert "'nobody/no-such-model'" in message
    assert "hub" in message


def test_a_folder_that_is_neither(tmp_path: Path) -> None:
    assert "modules.json" in fails(tmp_path, *FREE_PORTS)


def test_broken_repository(repository: Path, tmp_path: Path) -> None:
    broken = tmp_path / "repository"
    shutil.copytree(repository, broken)
    model = broken / "encoder/1/model.pt"
    model.write_bytes(model.read_bytes()[:-1000])
    assert "encoder/1/model.pt is not the file that was exported" in fails(broken, *FREE_PORTS)
    model.unlink()
    assert "encoder/1/model.pt is missing" in fails(broken, *FREE_PORTS)


def test_a_model_that_was_changed_is_not_started_again(repository: Path, tmp_path: Path) -> None:
    changed = tmp_path / "repository"
    shutil.copytree(repository, changed)
    server = TritonServer(changed, ServerSettings(grpc_port=0, metrics_port=0))
    with (changed / "encoder/1/model.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RepositoryError, match=r"model\.pt is not the file that was exported"):
        server.start()
    assert server.process is None


def test_a_model_that_was_changed_ends_its_server_at_the_next_restart(repository: Path, tmp_path: Path) -> None:
    changed = tmp_path / "repository"
    shutil.copytree(repository, changed)
    with running(changed) as (process, _, processes):
        with (changed / "encoder/1/model.pt").open("ab") as file:
            file.write(b"x")
        next(child for child in processes if child.name() == "tritonserver").kill()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: the model repository")
    assert "model.pt is not the file that was exported" in errors.splitlines()[-1]


def test_a_repository_that_triton_refuses(repository: Path, tmp_path: Path) -> None:
    broken = tmp_path / "repository"
    shutil.copytree(repository, broken)
    (broken / "pooling/1/head.json").write_text("{}")
    record_files(broken)
    message = fails(broken, *FREE_PORTS)
    assert "model pooling" in message
    assert "modules" in message


def test_an_unknown_precision() -> None:
    assert fails("--precision", "fp64") == "error: --precision is 'fp64'; allowed are fp32, bf16, int8, fp16"
    assert "precision 'fp16' is not available on cpu; allowed are fp32, bf16, int8" in fails(
        "--precision", "fp16", "--device", "cpu", *FREE_PORTS
    )


def test_precision_of_an_exported_repository_is_fixed(repository: Path) -> None:
    assert "fixed by the export" in fails(repository, "--precision", "bf16", *FREE_PORTS)


def test_of_two_launchers_with_one_port_one_serves_and_one_says_why_not(repository: Path) -> None:
    port = with_free_ports(ServerSettings(grpc_port=0)).grpc_port
    both = [serve(repository, "--grpc-port", port, "--metrics-port", 0) for _ in range(2)]
    try:
        wait_until(lambda: any(process.poll() is not None for process in both), 60)
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


def test_python_files_of_the_current_folder_do_not_run(repository: Path, tmp_path: Path) -> None:
    ran, here = tmp_path / "ran", tmp_path / "here"
    here.mkdir()
    for module in ("json", "metrics", "cache"):
        (here / f"{module}.py").write_text(f"open({str(ran)!r}, 'a').write('{module} ')\n", encoding="utf-8")
    (here / "repository").symlink_to(repository)
    process = subprocess.Popen(
        [SENTRITON, "serve", "repository", *FREE_PORTS],
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
        ["nohup", SENTRITON, "serve", str(repository), *FREE_PORTS],
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
        stub.kill()
        with SentenceEncoder(url, timeout_s=30) as encoder:
            assert encoder.encode("x").shape == (encoder.manifest.dimension,)
        assert process.poll() is None
        process.stdout = process.stderr = None  # closed: there is nothing to read at the end


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
