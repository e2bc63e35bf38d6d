"""Serves an exported repository: look first, start Triton, wait until it truly answers. The tests use it as `serve`
does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from sentriton.canary import Canary
from sentriton.errors import SentritonError, ServerError
from sentriton.manifest import Manifest
from sentriton_server.repository import check_repository, check_weights
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.log import LogLine, explain_failure
from sentriton_server.serving.preflight import (
    check_memory,
    check_ports,
    check_shared_memory,
    with_free_ports,
)
from sentriton_server.serving.process import TritonProcess
from sentriton_server.serving.security import check_security
from sentriton_server.serving.settings import ServerSettings
from sentriton_server.serving.warmup import warm_up

_POLL_S = 0.1
_FAILURES_ALLOWED = 3


class TritonServer:
    """A Triton Inference Server for one exported model repository: a context manager, or `start()` and `stop()`.

    `on_log` gets each line of Triton's log, from a thread. Raises `RepositoryError` and `LaunchError`.
    """

    def __init__(
        self,
        repository: Path,
        settings: ServerSettings | None = None,
        on_log: Callable[[LogLine], None] = lambda line: None,
    ) -> None:
        settings = settings or ServerSettings()
        self.repository = repository.resolve()
        self.manifest: Manifest = check_repository(self.repository)
        check_security(settings)
        check_ports(settings)
        self.settings = with_free_ports(settings)
        self.process: TritonProcess | None = None
        self._canary: Canary | None = None
        self._on_log = on_log

    @property
    def url(self) -> str:
        """Where callers connect: host:port."""
        return f"{self.settings.host}:{self.settings.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus scrapes."""
        return f"http://{self.settings.metrics_host}:{self.settings.metrics_port}/metrics"

    def start(self, interrupted: threading.Event | None = None) -> None:
        """Start Triton and wait for the canary. Raises `LaunchError` when it does not come up, `RepositoryError` when
        model.pt was changed, `KeyboardInterrupt` when `interrupted` is set meanwhile; each leaves nothing behind.
        """
        check_weights(self.repository, self.manifest)
        check_memory(self.repository, self.settings.row_cache_mib)
        check_shared_memory(self.repository)
        self.process = TritonProcess(self.repository, self.settings, self._on_log)
        try:
            self._canary = self._wait_until_ready(self.process, interrupted or threading.Event())
            self.process.note_stubs()
        except BaseException:
            self.stop()
            raise

    def check(self, sentence: int) -> float:
        """Embed one golden sentence (they are counted round and round) in the canary's own lane; returns the cosine.
        Raises a `SentritonError` when it does not come, or comes out wrong.
        """
        assert self._canary is not None, "check() needs start() first"
        return self._canary.check(self.settings.canary_timeout_s, sentence)

    def what_ended(self) -> str | None:
        """None while Triton and its Python stubs run, else a sentence about what ended."""
        assert self.process is not None, "what_ended() needs start() first"
        return self.process.what_ended()

    def close_canary(self) -> None:
        """End the canary; a check that is under way fails."""
        if self._canary is not None:
            self._canary.close()
            self._canary = None

    def stop(self) -> None:
        """End Triton and its stubs, when the requests under way are answered or `exit_timeout_s` is over."""
        self.close_canary()
        if self.process is not None:
            self.process.stop()
            self.process = None

    def kill(self) -> None:
        """End Triton and its stubs at once: for one that does not serve any more."""
        self.close_canary()
        if self.process is not None:
            self.process.kill()
            self.process = None

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _wait_until_ready(self, process: TritonProcess, interrupted: threading.Event) -> Canary:
        deadline = time.monotonic() + self.settings.ready_timeout_s
        last: SentritonError | None = None
        failures = 0
        while time.monotonic() < deadline:
            if interrupted.is_set():
                raise KeyboardInterrupt
            if process.exit_code() is not None:
                raise LaunchError(f"Triton did not start: {explain_failure(process.log())}")
            try:
                return self._checked_canary(process)
            except SentritonError as error:
                last = error
                # An answer that is wrong will not become right by waiting; no answer yet may.
                failures += isinstance(error, ServerError)
                if failures == _FAILURES_ALLOWED:
                    raise LaunchError(f"Triton came up and does not serve: {error}") from error
                time.sleep(_POLL_S)
        raise LaunchError(f"Triton was not ready after {self.settings.ready_timeout_s:.0f} s: {last}")

    def _checked_canary(self, process: TritonProcess) -> Canary:
        """A canary that has passed with all golden sentences, of a server that has seen rows of many lengths."""
        canary = Canary(process.client_settings, self.settings.canary_timeout_s, process.canary_key)
        try:
            canary.check(self.settings.canary_timeout_s)
            warm_up(process.client_settings, canary.manifest, self.settings.canary_timeout_s, process.canary_key)
        except BaseException:
            canary.close()
            raise
        return canary
