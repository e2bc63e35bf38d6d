"""Programs of another language: 64 callers, each with one sentence a call, whose server may restart under them, and the
example that ranks sentences.
"""

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
from tests.bounds import is_quiet
from tests.polyglot.conformance import Conformance
from tests.ports import FREE_PORTS
from tests.server.conftest import RunningServer

# URL, calls of each caller and least seconds to the command that makes the calls.
Command = Callable[[str, int, float], list[str]]
# The arguments of an example: a question, and the sentences that it ranks.
QUESTION_AND_THREE = ("숙소가 어디예요?", "지하철역 근처 숙소입니다.", "내일 비가 오나요?", "호텔")


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


def assert_batched(
    four_calls_each: Callable[[], subprocess.CompletedProcess[str]],
    server: RunningServer,
    conformance: Conformance,
    *,
    least: float,
) -> None:
    """The server computes more than `least` rows at a time: 2 beside other work, where callers send a few at a time."""

    def counts() -> list[float]:
        server.wait_for_counts()
        return [server.metric(f"sentriton_{kind}_total", lane="query") for kind in ("rows", "batches")]

    before = counts()
    ran = four_calls_each()
    assert ran.returncode == 0, ran.stderr
    rows, batches = (end - start for end, start in zip(counts(), before, strict=True))
    print(f"\nmean encoder batch {rows / batches:.1f}")
    assert rows == 4 * 64
    assert rows / batches > (least if is_quiet() else 2)
    assert_nothing_lost(ran.stdout, conformance, calls=4 * 64)


def assert_ranks(ran: subprocess.CompletedProcess[str]) -> None:
    """An example prints a line for each sentence of QUESTION_AND_THREE, with its score: the best one first."""
    assert ran.returncode == 0, ran.stderr
    scores = [float(line.split()[0]) for line in ran.stdout.splitlines()]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert max(scores) <= 1


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
