"""One Triton process: its command line, its log, its end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from sentriton_server.serving.installation import find_installation
from sentriton_server.serving.log import LogLine, parse
from sentriton_server.serving.preflight import SHARED_MEMORY
from sentriton_server.serving.security import Security
from sentriton_server.serving.settings import ServerSettings

_LOG_LINES_KEPT = 2000
_PR_SET_PDEATHSIG = 1
_DEFAULT_ENVIRONMENT = {
    # A pool of threads of the tokenizer's own would fight the encoder for the cores.
    "TOKENIZERS_PARALLELISM": "false",
    # The encoder's threads would spin between two operations on the cores that pooling and Triton need.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    # Even a launcher that is killed with SIGKILL leaves no Triton behind; Triton's stubs watch over Triton themselves.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class TritonProcess:
    """A `tritonserver` on a model repository, started at once. `on_log` gets each line of its log, from a thread."""

    def __init__(
        self, repository: Path, settings: ServerSettings, on_log: Callable[[LogLine], None] = lambda line: None
    ) -> None:
        installation = find_installation()
        self._settings = settings
        self._on_log = on_log
        self._lines: deque[LogLine] = deque(maxlen=_LOG_LINES_KEPT)
        self._folder = tempfile.TemporaryDirectory(prefix="sentriton-")
        # A name of its own for the stubs' shared memory: what a killed Triton leaves there can be told from others'.
        self.shared_memory_prefix = f"{Path(self._folder.name).name}_"
        security = Security.prepare(settings, Path(self._folder.name))
        self.client_settings = security.client
        self._process = subprocess.Popen(
            [
                str(installation.binary),
                f"--model-repository={repository}",
                *installation.write_backends(Path(self._folder.name) / "backends"),
                *_arguments(settings),
                *security.arguments,
                *(
                    f"--backend-config={backend},shm-region-prefix-name={self.shared_memory_prefix}"
                    for backend in (installation.backends or ("python",))
                ),
            ],
            env={**_DEFAULT_ENVIRONMENT, **os.environ, **installation.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read_log, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while Triton runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Block until Triton ends by itself; returns its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """End Triton: politely first, and after `exit_timeout_s` by force. Its stubs end with it."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._settings.exit_timeout_s + 5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)

    def log(self) -> list[LogLine]:
        """The last lines of the log; all of them once Triton has ended."""
        if self._process.poll() is not None:
            self._reader.join(timeout=5)
        return list(self._lines)

    def _read_log(self, stream: IO[str]) -> None:
        for text in stream:
            line = parse(text)
            self._lines.append(line)
            self._on_log(line)


def _arguments(settings: ServerSettings) -> list[str]:
    http = ["--allow-http=false"]
    if settings.http_port is not None:
        http = [f"--http-address={settings.host}", f"--http-port={settings.http_port}"]
    return [
        "--disable-auto-complete-config",
        f"--grpc-address={settings.host}",
        f"--grpc-port={settings.grpc_port}",
        *http,
        f"--metrics-address={settings.metrics_host}",
        f"--metrics-port={settings.metrics_port}",
        "--metrics-config=summary_latencies=true",
        f"--exit-timeout-secs={settings.exit_timeout_s}",
    ]
