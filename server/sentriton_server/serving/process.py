"""Runs one Triton process and reads its log."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from sentriton_server.cores import usable_cores
from sentriton_server.killed import KILL_TIMEOUT_S, STOP_TIMEOUT_S, StillRunning, wait_for_killed
from sentriton_server.serving.descriptors import raise_limit
from sentriton_server.serving.environments import Environments
from sentriton_server.serving.gpus import Gpu, gpu_arguments
from sentriton_server.serving.installation import Installation, find_installation
from sentriton_server.serving.log import (
    UNHEALTHY,
    LogLine,
    crash_signal,
    explain_failure,
    is_load_failure,
    parse,
    unhealthy_stub,
)
from sentriton_server.serving.ports import in_url, is_ipv6
from sentriton_server.serving.profile import Profile, read_profile
from sentriton_server.serving.scratch import Scratch
from sentriton_server.serving.security import Security
from sentriton_server.serving.stillness import work_s
from sentriton_server.serving.stub import PythonStub
from sentriton_server.settings import ServerSettings

_LOG_LINES_KEPT = 2000
EXIT_MARGIN_S = 5
POLL_S = 0.1  # between two checks of Triton


class TritonProcess:
    """A running `tritonserver` for a model repository. A thread passes each line of its log to `on_log`.

    `scratch` is the launcher's; if unset, the process has its own. `device`, cpu or gpu, chooses the profile in
    `server_config/triton.toml`, and the errors that explain a failed start. Triton uses the GPUs in `gpus`.
    """

    def __init__(
        self,
        repository: Path,
        settings: ServerSettings,
        on_log: Callable[[LogLine], None] = lambda line: None,
        scratch: Scratch | None = None,
        device: str = "cpu",
        gpus: Sequence[Gpu] = (),
    ) -> None:
        installation, profile = find_installation(), read_profile(device)
        self._settings = settings
        self._on_log = on_log
        self._device = device
        self._lines: deque[LogLine] = deque(maxlen=_LOG_LINES_KEPT)
        self._stubs: dict[int, PythonStub] = {}
        self._unhealthy: str | None = None
        self._crash: int | None = None
        # Opens the canary's lane. Only this Triton's models and the launcher know it.
        self.canary_key = secrets.token_urlsafe(32)
        self._scratch = scratch or Scratch(settings.exit_timeout_s + EXIT_MARGIN_S)
        self._owns_scratch = scratch is None
        # A unique prefix for the stubs' shared memory identifies the remains of a killed Triton.
        self.shared_memory_prefix = self._scratch.shared_memory_prefix
        self._environments = Environments(self._scratch.environments)
        try:
            security = Security.prepare(settings, self._scratch.folder)
            arguments = [
                f"--model-repository={self._scratch.plain(repository.absolute())}",
                *installation.backend_arguments(self._scratch.folder),
                *profile.flags,
                *gpu_arguments(repository, gpus),
                *_arguments(settings),
                *security.arguments,
                *(
                    f"--backend-config={backend},shm-region-prefix-name={self.shared_memory_prefix}"
                    for backend in (installation.backends or ("python",))
                ),
            ]
            self._process = self._scratch.start(
                [str(installation.binary.absolute()), *arguments],
                env=_environment(profile, installation, settings, self.canary_key, len(gpus)),
                cwd=self._scratch.empty,
                umask=0o077,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                errors="replace",
            )
        except BaseException:
            if self._owns_scratch:
                self._scratch.remove()
            raise
        self.client_settings = security.client
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        with contextlib.suppress(OSError, ValueError):  # it has ended, or a sandbox forbids this
            raise_limit(self.pid)
        try:
            self._reader.start()
        except BaseException:  # the system has no thread left
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while Triton runs."""
        return self._process.poll()

    def note_stubs(self) -> None:
        """Record the running Python stubs, and hide their shared memory. Called repeatedly until all models are loaded,
        so that a stub that ends early is noticed.
        """
        self._scratch.hide_shared_memory()
        without_stubs = not self._stubs
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                if child.pid not in self._stubs and (stub := PythonStub.of(child)):
                    self._stubs[child.pid] = stub
        if without_stubs:  # the backend creates its folder before the first stub
            self._environments.note()

    def what_ended(self) -> str | None:
        """The part of this Triton that has ended, or None. Triton reports ready even after a stub has died. A stub that
        hung for a time counts as ended, because its answers may go to wrong requests. Triton's log shows it.
        """
        if (code := self.exit_code()) is not None:
            return f"Triton ended by itself with exit code {code}"
        crash = self._crash  # before the stubs, since a dead stub may be the cause
        dead = " and ".join(stub.name for stub in self._stubs.values() if not stub.is_alive())
        if crash is not None:
            return f"Triton crashed (signal {crash}){f'; its Python stub {dead} had ended' if dead else ''}"
        if dead:
            return f"Triton's Python stub {dead} ended by itself"
        if self._unhealthy is not None:
            return f"Triton's Python stub {self._unhealthy} hung"
        return None

    def work_s(self) -> float:
        """The processor time of Triton and its stubs, in seconds."""
        return work_s([self.pid, *self._stubs])

    def was_killed(self) -> bool:
        """Whether a signal ended Triton or a stub. It may come from a user or from a fault that does not recur. False
        if this is unknown.
        """
        return (
            self._crash is not None
            or (self.exit_code() or 0) < 0
            or any(stub.was_killed() for stub in self._stubs.values())
        )

    def why_not_loaded(self, within_s: float) -> str | None:
        """The reason that Triton reports within this time for a model that cannot be loaded. None without a report, or
        if a part ended, since the next start may succeed.
        """
        deadline = time.monotonic() + within_s
        while True:
            # Once Triton has ended, its log is complete.
            code, lines = self.exit_code(), self.log()
            if code is not None or any(is_load_failure(line) for line in lines):
                why = explain_failure(lines, self._device)
                return None if (code or 0) < 0 or UNHEALTHY in why else why
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_S)

    def unserved(self) -> str | None:
        """Triton's message about a port that it cannot listen on, or None. Only without gRPC does it end."""
        return next((line.message for line in self.log() if line.message.startswith("failed to start ")), None)

    def stop(self) -> None:
        """Stop Triton and its stubs, and kill them after `exit_timeout_s`. Raises `StillRunning` as `kill` does."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._settings.exit_timeout_s + EXIT_MARGIN_S)
        self.kill(STOP_TIMEOUT_S)

    def kill(self, timeout_s: float = KILL_TIMEOUT_S) -> None:
        """Kill Triton and its stubs, and remove their files. Raises `StillRunning` if Triton does not end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            wait_for_killed(self._process, "Triton", timeout_s)
        except StillRunning:
            with contextlib.suppress(OSError):  # the other error matters more
                self._clean_up()
            raise
        if self._reader.is_alive():
            self._reader.join(timeout=5)
        self._clean_up()

    def _clean_up(self) -> None:
        # A stub that does not end keeps the pipe open. To close it would wait for the reader, which waits for the stub.
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        with contextlib.suppress(OSError):  # the guard was killed and cannot restart; the next Triton starts one
            self._scratch.forget()
        self._environments.remove()
        self._scratch.clear_shared_memory()
        if self._owns_scratch:
            self._scratch.remove()

    def log(self) -> list[LogLine]:
        """The last lines of the log, including the final ones if Triton has ended."""
        if self._process.poll() is not None:
            self._reader.join(timeout=5)
        return list(self._lines)

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for text in lines:
                line = parse(text)
                self._lines.append(line)
                self._unhealthy = unhealthy_stub(line) or self._unhealthy
                self._crash = crash_signal(line) or self._crash
                # A failing listener (a closed terminal) must not stop the reading: a full pipe would block Triton.
                with contextlib.suppress(Exception):
                    self._on_log(line)


def _environment(
    profile: Profile, installation: Installation, settings: ServerSettings, canary_key: str, gpus: int = 0
) -> dict[str, str]:
    # Python's variables would reach the stubs. The launcher's PYTHONPATH could put other modules before those of the
    # models and the standard library.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {
        **profile.environment,
        # torch counts the cores of its affinity but ignores a quota.
        "OMP_NUM_THREADS": str(usable_cores()),
        **inherited,
        **installation.environment,
        "SENTRITON_ROW_CACHE_MIB": str(settings.row_cache_mib),
        "SENTRITON_CANARY_KEY": canary_key,
        "SENTRITON_GPUS": str(gpus),
        # An image may set this variable to 1. Then fp32 would have only the 10 bits of TF32.
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0",
    }


def _arguments(settings: ServerSettings) -> list[str]:
    http = ["--allow-http=false"]
    if settings.http_port is not None:
        http = [f"--http-address={_http_address(settings.host)}", f"--http-port={settings.http_port}"]
    return [
        f"--grpc-address={in_url(settings.host)}",
        f"--grpc-port={settings.grpc_port}",
        *http,
        *_connection_age(settings),
        f"--metrics-address={_http_address(settings.metrics_host)}",
        f"--metrics-port={settings.metrics_port}",
        f"--exit-timeout-secs={settings.exit_timeout_s}",
        *_tracing(settings),
    ]


def _http_address(host: str) -> str:
    """The address in the form of evhtp, the library of Triton's HTTP servers."""
    return f"ipv6:{host}" if is_ipv6(host) else host


def _connection_age(settings: ServerSettings) -> list[str]:
    if settings.max_connection_age_s is None:
        return []
    return [f"--grpc-max-connection-age={settings.max_connection_age_s * 1000}"]


def _tracing(settings: ServerSettings) -> list[str]:
    if settings.trace_url is None:
        return []
    options = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        f"rate={settings.trace_rate}",
        f"opentelemetry,url={settings.trace_url}",
        "opentelemetry,resource=service.name=sentriton",
    )
    return [f"--trace-config={option}" for option in options]
