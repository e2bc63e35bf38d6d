"""Tests of the programs that each language has: 64 callers, messages that are written again, and the example."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository
from tests.bounds import is_quiet
from tests.polyglot.conformance import CONFORMANCE, Conformance
from tests.polyglot.messages import filled_messages
from tests.polyglot.processes import environment, run
from tests.ports import FREE_PORTS
from tests.server.conftest import RunningServer
from tests.servers import started

# The arguments of the example: a question, and the sentences that it ranks.
_QUESTION_AND_THREE = ("숙소가 어디예요?", "지하철역 근처 숙소입니다.", "내일 비가 오나요?", "호텔")


@dataclass(frozen=True)
class Programs:
    """The commands that run a language's programs.

    `callers` makes the command of 64 callers, each with one sentence a call: of URL, calls of each caller, and least
    seconds. It prints "answered" with the 64th answer. Its last line is JSON: `calls`, `failures` and `minCosine`, the
    smallest to the golden vectors. `reencode` reads [[message, base64]] from standard input, and writes the same after
    reading and writing each message. `rank` is the example: it takes a question and sentences.
    """

    callers: Callable[[str, int, float], list[str]]
    reencode: list[str]
    rank: list[str]

    @classmethod
    def in_folder(cls, folder: Path) -> Programs:
        """Those that a compiler wrote into a folder."""

        def callers(url: str, calls: int, seconds: float) -> list[str]:
            return [str(folder / "callers"), url, str(CONFORMANCE), str(calls), str(seconds)]

        return cls(callers, [str(folder / "reencode")], [str(folder / "rank")])


class ProgramTests:
    """A test file has a subclass of it, and a fixture `programs`. `least_batch`: the rows that the server computes at a
    time on a quiet machine are more.
    """

    least_batch = 8

    def test_64_calls_at_once_are_batched(
        self, programs: Programs, server: RunningServer, conformance: Conformance
    ) -> None:
        """Beside other work, where callers send a few at a time, two rows at a time are enough."""
        before = _rows_and_batches(server)
        ran = run(*programs.callers(server.url, 4, 0), timeout_s=200)
        assert ran.returncode == 0, ran.stderr
        rows, batches = (end - start for end, start in zip(_rows_and_batches(server), before, strict=True))
        print(f"\nmean encoder batch {rows / batches:.1f}")
        assert rows == 4 * 64
        assert rows / batches > (self.least_batch if is_quiet() else 2)
        _assert_nothing_lost(ran.stdout, conformance, calls=4 * 64)

    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=lambda ending: ending.name)
    def test_a_restart_under_64_callers_loses_nothing(
        self, ending: signal.Signals, programs: Programs, conformance: Conformance
    ) -> None:
        """A server ends while callers are at work, and starts again at the same port: no call fails."""
        repository = prepare_repository(None, precision="fp32", device="cpu")
        with TritonServer(repository, FREE_PORTS) as first:
            again = ServerSettings(grpc_port=first.settings.grpc_port, metrics_port=first.settings.metrics_port)
            with _running(programs.callers(first.url, 1, 3)) as callers:
                assert callers.stdout is not None
                assert callers.stdout.readline() == "answered\n"
                time.sleep(0.5)
                assert first.process is not None
                if ending is signal.SIGKILL:
                    os.killpg(first.process.pid, signal.SIGKILL)
                first.stop()
                assert callers.poll() is None, "the callers were done before the server was"
                with started(repository, again):
                    output, errors = callers.communicate(timeout=90)
        assert callers.returncode == 0, errors
        _assert_nothing_lost(output, conformance, calls=64)

    def test_messages_are_byte_identical_both_ways(self, programs: Programs) -> None:
        sent = [
            [message.DESCRIPTOR.name, base64.b64encode(message.SerializeToString(deterministic=True)).decode()]
            for message in filled_messages()
        ]
        ran = run(*programs.reencode, stdin=json.dumps(sent), timeout_s=200)
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout) == sent

    def test_the_example_runs(self, programs: Programs, server: RunningServer) -> None:
        """It prints a line for each sentence, with its score: the best one first."""
        ran = run(*programs.rank, *_QUESTION_AND_THREE, timeout_s=200, SENTRITON_URL=server.url)
        assert ran.returncode == 0, ran.stderr
        scores = [float(line.split()[0]) for line in ran.stdout.splitlines()]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert max(scores) <= 1


def _rows_and_batches(server: RunningServer) -> list[float]:
    server.wait_for_counts()
    return [server.metric(f"sentriton_{kind}_total", lane="query") for kind in ("rows", "batches")]


def _assert_nothing_lost(output: str, conformance: Conformance, *, calls: int) -> None:
    result = json.loads(output.splitlines()[-1])
    print(result["calls"], "calls")
    assert result["failures"] == []
    assert result["calls"] >= calls
    assert result["minCosine"] >= conformance.min_cosine


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), **streams) as process:
        try:
            yield process
        finally:
            process.kill()
