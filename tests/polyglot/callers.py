"""64 callers in a process of another language, each with one sentence a call, and a server that restarts under them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository
from tests.polyglot.conformance import Conformance
from tests.ports import FREE_PORTS

# URL, calls of each caller and least seconds to the command that makes the calls.
Command = Callable[[str, int, float], list[str]]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a client's process: no setting of ours but those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENTRITON_")}
    return {**inherited, **variables}


def restart_under_callers(command: Command, ending: signal.Signals, conformance: Conformance) -> None:
    """Ends a server while callers are at work, and starts it again at the same port: no call may fail."""
    repository = prepare_repository(None, precision="fp32", device="cpu")
    with TritonServer(repository, FREE_PORTS) as first:
        again = ServerSettings(grpc_port=first.settings.grpc_port, metrics_port=first.settings.metrics_port)
        with _calling(command(first.url, 1, 3)) as callers:
            assert callers.stdout is not None
            assert callers.stdout.readline() == "answered\n"
            time.sleep(0.5)
            assert first.process is not None
            if ending is signal.SIGKILL:
                os.killpg(first.process.pid, signal.SIGKILL)
            first.stop()
            assert callers.poll() is None, "the callers were done before the server was"
            with TritonServer(repository, again):
                output, errors = callers.communicate(timeout=90)
    assert callers.returncode == 0, errors
    assert_nothing_lost(output, conformance, calls=64)


def assert_nothing_lost(output: str, conformance: Conformance, *, calls: int) -> None:
    """The callers' last line is JSON: `calls`, `failures` and `minCosine`, the smallest to the golden vectors."""
    result = json.loads(output.splitlines()[-1])
    print(result["calls"], "calls")
    assert result["failures"] == []
    assert result["calls"] >= calls
    assert result["minCosine"] >= conformance.min_cosine


@contextmanager
def _calling(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), **streams) as process:
        try:
            yield process
        finally:
            process.kill()
