"""Supervises Triton, and restarts it on the same port when it no longer serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn

from sentriton_server.killed import StillRunning
from sentriton_server.serving.canary import MAX_CANARY_FAILURES
from sentriton_server.serving.errors import Crashed, LaunchError
from sentriton_server.serving.launcher import Slow, TritonServer
from sentriton_server.serving.log import UNHEALTHY
from sentriton_server.serving.process import POLL_S
from sentriton_server.serving.ready_file import ReadyFile
from sentriton_server.serving.restarts import RestartPolicy
from sentriton_server.serving.stillness import OBSERVATION_S

_CANARY_RETRY_S = 0.5  # pause after a failed canary


class Supervisor:
    """Starts a `server` and watches it: its processes continuously, its answers by a canary every `canary_period_s`.

    It reports each event to `say`. `ready_file` exists while the server serves, for readiness probes. `beside` is
    called regularly to supervise other processes.
    """

    def __init__(
        self,
        server: TritonServer,
        say: Callable[[str], None],
        ready_file: ReadyFile | None = None,
        beside: Callable[[], None] | None = None,
    ) -> None:
        self._server = server
        self._say = say
        self._ready_file = ready_file
        self._beside = beside
        self._policy = RestartPolicy(server.settings.restarts)
        self._canaries = 0
        self._set_ready(False)  # a launcher that was killed may have left the file

    def start(self, interrupted: threading.Event) -> None:
        """Start the server. Restart it if Triton or a stub ends during the start. Raises the errors of
        `TritonServer.restart`.
        """
        try:
            self._server.restart(interrupted)
        except Crashed as error:
            self._restart(str(error), 0.0, interrupted)

    def run(self, interrupted: threading.Event) -> NoReturn:
        """Watch the server, and restart failed parts. Raises `KeyboardInterrupt` once `interrupted` is set, and
        `LaunchError` if Triton or a process beside it keeps failing. Raises `RepositoryError` if a restart finds a
        changed file in the repository, and `StillRunning` if Triton cannot be killed, since a restart needs its ports.
        """
        try:
            while True:
                started = time.monotonic()
                self._set_ready(True)
                reason = self._watch(interrupted)
                failed = time.monotonic()
                self._set_ready(False)
                self._restart(reason, failed - started, interrupted)
                self._say(f"serving again at {self._server.url} after {time.monotonic() - failed:.1f} s")
        finally:
            self._set_ready(False)

    def _watch(self, interrupted: threading.Event) -> str:
        """Block until the server no longer serves, and return the reason."""
        period_s, failures, slow = self._server.settings.canary_period_s, 0, False
        due, canary = time.monotonic() + period_s, None
        # In a thread, so that a part that dies during the canary is found before the canary times out.
        with ThreadPoolExecutor(1, thread_name_prefix="sentriton-canary") as pool:
            try:
                while not interrupted.wait(POLL_S):
                    if self._beside is not None:
                        self._beside()
                    if reason := self._server.what_ended():
                        return reason
                    if canary is None and time.monotonic() >= due:
                        self._canaries += 1
                        stillness = self._server.watch_for_stillness()
                        canary = pool.submit(self._server.check, self._canaries)
                    elif canary is not None and canary.done():
                        error = _failure(canary)
                        due, canary = time.monotonic() + (_CANARY_RETRY_S if error else period_s), None
                        if isinstance(error, Slow):
                            if not slow:
                                self._say(f"the server is slow: {error}")
                            failures, slow = 0, True
                            continue
                        failures, slow = failures + 1 if error else 0, False
                        if error:
                            self._say(f"the canary failed ({failures} of {MAX_CANARY_FAILURES}): {error}")
                            if UNHEALTHY in str(error):
                                return f"the canary failed: {error}"
                        if failures == MAX_CANARY_FAILURES:
                            return f"the canary failed {failures} times in a row, at last: {error}"
                        if not error and self._ready_file is not None and not self._ready_file.path.exists():
                            self._set_ready(True)  # again, in case the file could not be written or was removed
                    elif canary is not None and stillness.is_certain():
                        return (
                            "Triton hangs: the canary waits, and no process has used processor time for "
                            f"{OBSERVATION_S:.0f} s"
                        )
            finally:
                self._server.close_canary()  # otherwise the pool would wait for it
        raise KeyboardInterrupt

    def _restart(self, reason: str, served_s: float, interrupted: threading.Event) -> None:
        while True:
            self._kill(reason)
            if (pause_s := self._policy.pause_s(served_s)) is None:
                raise LaunchError(_give_up(self._policy, reason))
            self._say(f"{reason}; restarting it in {pause_s:.1f} s")
            if interrupted.wait(pause_s):
                raise KeyboardInterrupt
            try:
                return self._server.restart(interrupted)
            except LaunchError as error:
                reason, served_s = str(error), 0.0
            except OSError as error:  # a full disk or too little memory, which may be temporary
                reason, served_s = f"Triton could not be started ({error})", 0.0

    def _kill(self, reason: str) -> None:
        try:
            self._server.kill()
        except StillRunning as error:
            raise StillRunning(f"{reason}; {error}") from error
        except OSError as error:  # if Triton's remains are in the way, the next start reports it
            self._say(f"Triton's temporary files were not removed ({error})")

    def _set_ready(self, ready: bool) -> None:
        if self._ready_file is None:
            return
        try:
            if ready:
                self._ready_file.write(self._server.url)
            else:
                self._ready_file.remove()
        except OSError as error:  # the server serves nevertheless
            done = "written" if ready else "removed"
            self._say(f"the ready file {self._ready_file.path} cannot be {done}: {error.strerror}")


def _failure(canary: Future[float]) -> Exception | None:
    """The error of a finished canary, or None. It is any exception, since a failed check must not end `serve`."""
    try:
        canary.result()
    except Exception as error:
        return error
    return None


def _give_up(policy: RestartPolicy, reason: str) -> str:
    if policy.restarts == 0:
        return f"{reason}; run with --verbose to see its log, or with --restarts to start it again"
    return (
        f"Triton failed {policy.in_a_row} times in a row and is not restarted (--restarts {policy.restarts}), "
        f"at last: {reason}; run with --verbose to see its log"
    )
