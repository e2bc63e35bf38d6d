"""The supervisor continues, even if a check of the server or its kill fails."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.stillness import Stillness
from sentriton_server.serving.supervisor import Supervisor
from sentriton_server.settings import ServerSettings


class Server:
    """A stub of `TritonServer`. Each check raises `check_error` until a restart. `kill` raises `kill_error` once."""

    def __init__(self, *, restarts: int = 5) -> None:
        self.settings = ServerSettings(canary_period_s=0.1, restarts=restarts)
        self.url = "127.0.0.1:1"
        self.check_error: Exception | None = None
        self.kill_error: Exception | None = None
        self.ended: str | None = None
        self.starts = 0
        self.started = threading.Event()

    def restart(self, interrupted: threading.Event) -> None:
        self.starts += 1
        self.check_error = self.ended = None
        self.started.set()

    def check(self, sentence: int) -> float:
        if self.check_error:
            raise self.check_error
        return 1.0

    def watch_for_stillness(self) -> Stillness:
        return Stillness(time.monotonic)

    def what_ended(self) -> str | None:
        return self.ended

    def close_canary(self) -> None:
        pass

    def kill(self) -> None:
        error, self.kill_error = self.kill_error, None
        if error:
            raise error


def watch(server: Server) -> list[str]:
    """The messages of a supervisor until it has restarted `server`."""
    said: list[str] = []
    interrupted = threading.Event()

    def interrupt() -> None:
        server.started.wait(10)
        interrupted.set()

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            Supervisor(server, said.append).run(interrupted)  # type: ignore[arg-type]
    finally:
        watcher.join()
    return said


def test_a_canary_that_fails_in_any_way_counts_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentriton_server.serving.supervisor._CANARY_RETRY_S", 0.0)
    server = Server()
    server.check_error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    said = watch(server)
    assert server.starts == 1
    assert any("the canary failed (3 of 3): 'utf-8' codec can't decode" in line for line in said), said


def test_a_server_whose_end_is_not_clean_is_started_again() -> None:
    server = Server()
    server.ended, server.kill_error = "Triton ended", OSError(errno.ENOMEM, "Cannot allocate memory")
    said = watch(server)
    assert server.starts == 1
    assert any("Cannot allocate memory" in line for line in said), said


def test_the_last_failure_is_told_even_if_the_end_is_not_clean() -> None:
    server = Server(restarts=0)
    server.ended, server.kill_error = "Triton ended", OSError(errno.ENOMEM, "Cannot allocate memory")
    with pytest.raises(LaunchError, match=r"^Triton ended; "):
        Supervisor(server, print).run(threading.Event())  # type: ignore[arg-type]
