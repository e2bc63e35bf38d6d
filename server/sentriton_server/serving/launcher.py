"""Serves an exported repository: checks the machine, starts Triton and waits for right answers. `serve` and the tests
use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sentriton.errors import DeadlineExceeded, InvalidInput, Overloaded, SentritonError, ServerError
from sentriton.manifest import Manifest
from sentriton.settings import ClientSettings
from sentriton_server.killed import StillRunning
from sentriton_server.repository import RepositoryError, check_repository, read_manifest, remove_bytecode
from sentriton_server.serving.canary import MAX_CANARY_FAILURES, Canary, OtherServer
from sentriton_server.serving.errors import Crashed, LaunchError
from sentriton_server.serving.gpus import Gpu, check_gpus, find_gpus
from sentriton_server.serving.log import UNHEALTHY, LogLine
from sentriton_server.serving.patience import Patience
from sentriton_server.serving.ports import Ports, in_url
from sentriton_server.serving.preflight import check_memory, check_operators, check_ports, check_shared_memory
from sentriton_server.serving.process import EXIT_MARGIN_S, POLL_S, TritonProcess
from sentriton_server.serving.progress import read_work, stalled
from sentriton_server.serving.scratch import Scratch
from sentriton_server.serving.security import check_security
from sentriton_server.serving.stillness import Stillness
from sentriton_server.serving.warmup import warm_up
from sentriton_server.settings import ServerSettings

_LOAD_FAILURE_S = 2.0  # a stub ends shortly before Triton logs why its model was not loaded
# Counters are updated every second. A part needs time to show progress before it counts as stalled.
_MIN_OBSERVATION_S = 3.0
_METRICS_TIMEOUT_S = 2.0


class Slow(SentritonError):
    """The canary timed out, but all parts of the server make progress or may do so."""


class TritonServer:
    """A Triton Inference Server for one exported model repository. Use it as a context manager, or call `start()` and
    `stop()`.

    A thread passes each line of Triton's log to `on_log`. The ports are reserved until `stop()`. Raises
    `RepositoryError` and `LaunchError`.
    """

    def __init__(
        self,
        repository: Path,
        settings: ServerSettings | None = None,
        on_log: Callable[[LogLine], None] = lambda line: None,
    ) -> None:
        settings = settings or ServerSettings()
        self.repository = repository.resolve()
        self.manifest: Manifest = read_manifest(self.repository)
        check_security(settings)
        check_ports(settings)
        self._ports: Ports | None = Ports(settings)
        self.settings = self._ports.settings
        self.process: TritonProcess | None = None
        self._scratch: Scratch | None = None
        self._canary: Canary | None = None
        self._patience: Patience | None = None
        self._on_log = on_log

    @property
    def url(self) -> str:
        """The address for callers, host:port."""
        return f"{in_url(self.settings.host)}:{self.settings.grpc_port}"

    @property
    def client_settings(self) -> ClientSettings:
        """The settings of a client on this machine, including keys and certificates."""
        assert self.process is not None, "client_settings needs start() first"
        return self.process.client_settings

    @property
    def metrics_url(self) -> str:
        """The address for Prometheus."""
        return f"http://{in_url(self.settings.metrics_host)}:{self.settings.metrics_port}/metrics"

    def start(self, interrupted: threading.Event | None = None) -> None:
        """Start Triton and wait for the canary. Raises `LaunchError` if it does not start, `RepositoryError` if a file
        of the repository has changed, and `KeyboardInterrupt` once `interrupted` is set. After an error, no process and
        no file is left.
        """
        try:
            self.restart(interrupted)
        except BaseException:
            self.stop()
            raise

    def restart(self, interrupted: threading.Event | None = None) -> None:
        """Restart after `kill`. If this fails, the ports stay reserved until `stop`."""
        if check_repository(self.repository) != self.manifest:
            raise RepositoryError(
                f"the model in {self.repository} has changed since this server was created; restart serve"
            )
        # Its files may be read now.
        patience = self._patience = Patience(self.repository)
        remove_bytecode(self.repository)
        check_operators(self.repository)
        check_memory(self.repository, self.settings.row_cache_mib)
        check_shared_memory(self.repository)
        gpus = find_gpus() if self.manifest.device == "gpu" else []
        if self.manifest.device == "gpu":
            check_gpus(self.repository, gpus)
        if self._ports is None:
            self._ports = Ports(self.settings)
        if self._scratch is None or not self._scratch.is_whole:
            self._remove_scratch()
            self._scratch = Scratch(self.settings.exit_timeout_s + EXIT_MARGIN_S)
        process = self._start_process(self._scratch, gpus)
        try:
            self._canary = self._wait_until_ready(process, interrupted or threading.Event())
            patience.note_work(time.monotonic())
        except Exception as error:
            try:
                self.kill()
            except StillRunning as running:
                raise StillRunning(f"{error}; {running}") from error
            raise

    def check(self, sentence: int) -> float:
        """Embed golden sentence number `sentence` (modulo their count) in the canary's lane. Returns the cosine.

        Raises a `SentritonError` if the answer is missing or wrong. After a timeout it raises `Slow` if every part made
        progress or the encoder may be computing a large batch.
        """
        assert self._canary is not None, "check() needs start() first"
        assert self._patience is not None, "start() creates both"
        began, before = time.monotonic(), self._work()
        try:
            cosine = self._canary.check(self.settings.canary_timeout_s, sentence)
        except (DeadlineExceeded, Overloaded) as error:
            until = began + max(self.settings.canary_timeout_s, _MIN_OBSERVATION_S)
            while still := stalled(before, self._work()):
                if time.monotonic() > until or self._canary is None:
                    if self._patience.excuses(still, time.monotonic()):
                        raise Slow(f"{error}; the encoder computes a large batch") from error
                    raise ServerError(f"{error}; {', '.join(still)} made no progress meanwhile") from error
                time.sleep(POLL_S)
            self._patience.note_work(time.monotonic())
            raise Slow(f"{error}; all parts make progress") from error
        self._patience.note_work(time.monotonic())
        return cosine

    def what_ended(self) -> str | None:
        """None while Triton and its Python stubs run, else a sentence that names the ended part."""
        assert self.process is not None, "what_ended() needs start() first"
        return self.process.what_ended()

    def watch_for_stillness(self) -> Stillness:
        """Starts to watch whether Triton uses any processor time."""
        assert self.process is not None, "watch_for_stillness() needs start() first"
        return Stillness(self.process.work_s)

    def close_canary(self) -> None:
        """Close the canary. A check in progress fails."""
        if self._canary is not None:
            self._canary.close()
            self._canary = None

    def stop(self) -> None:
        """End Triton and its stubs after the requests in progress or after `exit_timeout_s`, and release the ports.
        Raises `StillRunning` as `kill` does.
        """
        self.close_canary()
        try:
            self._end(TritonProcess.stop)
        except StillRunning:
            self._release()
            raise
        self._release()

    def kill(self) -> None:
        """Kill Triton and its stubs. Use it for a Triton that no longer serves. Raises `StillRunning` if Triton does
        not end. A later call does not try it again.
        """
        self.close_canary()
        self._end(TritonProcess.kill)

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start_process(self, scratch: Scratch, gpus: list[Gpu]) -> TritonProcess:
        """Start Triton as `process`, in a thread. Signals raise exceptions only in the main thread. So no exception can
        separate Triton's start from the assignment that `kill` needs.
        """

        def start() -> TritonProcess:
            device = self.manifest.device
            self.process = TritonProcess(self.repository, self.settings, self._on_log, scratch, device, gpus)
            return self.process

        with ThreadPoolExecutor(1, thread_name_prefix="sentriton-start") as pool:  # leaving waits for the thread
            return pool.submit(start).result()

    def _end(self, end: Callable[[TritonProcess], None]) -> None:
        if self.process is None:
            return
        try:
            end(self.process)
        except StillRunning:
            self.process = None
            raise
        self.process = None  # not after an interrupt, so that `stop` can still end it

    def _release(self) -> None:
        self._remove_scratch()
        if self._ports is not None:
            self._ports.release()
            self._ports = None

    def _remove_scratch(self) -> None:
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _work(self) -> dict[str, float] | None:
        """The work of each part so far, or None if Triton does not report it."""
        try:
            return read_work(self.settings.metrics_host, self.settings.metrics_port, _METRICS_TIMEOUT_S)
        except OSError:
            return None

    def _wait_until_ready(self, process: TritonProcess, interrupted: threading.Event) -> Canary:
        deadline = time.monotonic() + self.settings.ready_timeout_s
        last: SentritonError | None = None
        failures = 0
        while time.monotonic() < deadline:
            try:
                return self._attempt(process, interrupted, deadline)
            except LaunchError:
                raise
            except OtherServer as error:
                raise LaunchError(f"{error}; stop that server, or choose another --grpc-port") from error
            except SentritonError as error:
                last = error
                if UNHEALTHY in str(error):
                    raise Crashed(f"{error} while it started") from error
                # Waiting may help against a missing answer, but not against a wrong one.
                failures += isinstance(error, (ServerError, InvalidInput))
                if failures == MAX_CANARY_FAILURES:
                    raise LaunchError(f"Triton started but does not serve: {error}") from error
            time.sleep(POLL_S)
        raise LaunchError(f"Triton was not ready after {self.settings.ready_timeout_s:.0f} s: {last}")

    def _attempt(self, process: TritonProcess, interrupted: threading.Event, deadline: float) -> Canary:
        """Run `_checked_canary` in a thread and watch the processes meanwhile. So an ended process is found before the
        canary times out. The thread of an abandoned attempt ends with Triton.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix="sentriton-canary")
        attempt = pool.submit(self._checked_canary, process)
        pool.shutdown(wait=False)
        try:
            while True:
                _require_sound(process, interrupted)
                done, _ = futures.wait([attempt], timeout=POLL_S)
                if done:
                    return attempt.result()
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(f"{self.url} did not answer in time")  # noqa: TRY301
        except BaseException:
            attempt.add_done_callback(_close)
            raise

    def _checked_canary(self, process: TritonProcess) -> Canary:
        """A canary that has passed with all golden sentences, after the warm-up."""
        canary = Canary(process.client_settings, self.settings.canary_timeout_s, process.canary_key)
        try:
            canary.check(self.settings.canary_timeout_s)
            self._require_own(canary.manifest, process)
            warm_up(process.client_settings, canary.manifest, self.settings.canary_timeout_s, process.canary_key)
        except BaseException:
            canary.close()
            raise
        return canary

    def _require_own(self, manifest: Manifest, process: TritonProcess) -> None:
        if manifest != self.manifest:
            raise ServerError(f"{self.url} serves {manifest.name} instead of the model of {self.repository}")
        if why := process.unserved():
            raise LaunchError(f"Triton did not start: {why}")


def _require_sound(process: TritonProcess, interrupted: threading.Event) -> None:
    """Raises `KeyboardInterrupt` if `interrupted` is set, and `LaunchError` if a part of Triton has ended."""
    if interrupted.is_set():
        raise KeyboardInterrupt
    process.note_stubs()
    if ended := process.what_ended():
        raise _start_failure(process, ended)


def _start_failure(process: TritonProcess, ended: str) -> LaunchError:
    """The error of a start during which a part ended. If a model cannot be loaded, another start is useless."""
    if not process.was_killed() and (why := process.why_not_loaded(_LOAD_FAILURE_S)):
        return LaunchError(f"Triton did not start: {why}")
    return Crashed(f"{ended} while it started")


def _close(attempt: Future[Canary]) -> None:
    if attempt.exception() is None:
        attempt.result().close()
