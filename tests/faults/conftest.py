"""`sentriton serve` under load during a fault, and the table of the outcomes."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from sentriton import Overloaded, SentenceEncoder, ServerUnavailable
from tests.bounds import bound_s
from tests.commands import SENTRITON
from tests.faults.load import SENTENCES, Load

STUB = "triton_python_backend_stub"
RECOVERY_S = 15  # the longest restart with the bundled checkpoint, on a machine without other work
BUSY_RECOVERY_S = 60  # and on one that others use as well
_ROWS: list[tuple[str, ...]] = []


def recovery_bound_s() -> float:
    """The seconds within which a server must serve again."""
    return bound_s(RECOVERY_S, BUSY_RECOVERY_S)


@dataclass
class Served:
    """A running `sentriton serve`."""

    launcher: psutil.Process
    url: str
    said: list[str]

    def processes(self) -> list[psutil.Process]:
        """Triton and its stubs, as they are now."""
        below = self.launcher.children(recursive=True)
        return [process for process in below if process.name() in ("tritonserver", STUB)]

    def process(self, name: str) -> psutil.Process:
        """Triton ("triton"), or the stub of a model."""
        for process in self.processes():
            if self.name_of(process) in (name, f"{name}_0_0"):
                return process
        raise AssertionError(f"no process of {name}")

    @staticmethod
    def name_of(process: psutil.Process) -> str:
        """triton, or the model instance of a stub, such as encoder_0_1."""
        return "triton" if process.name() == "tritonserver" else process.cmdline()[-2]

    def restarts(self, since: int = 0) -> int:
        """How often Triton was started again, after the first `since` lines of `said`."""
        return sum(line.startswith("serving again") for line in self.said[since:])


@contextmanager
def serve(source: Path, *arguments: object, prefix: tuple[str, ...] = (), **environment: str) -> Iterator[Served]:
    """`sentriton serve` on free ports; its later words are in `said`."""
    command = [*prefix, SENTRITON, "serve", str(source), *map(str, arguments)]
    if "--grpc-port" not in arguments:
        command += ["--grpc-port", "0"]
    process = subprocess.Popen(
        [*command, "--metrics-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    said: list[str] = []

    def listen() -> None:
        assert process.stderr is not None
        said.extend(iter(process.stderr.readline, ""))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        line = process.stdout.readline()
        match = re.search(r"at (127\.0\.0\.1:\d+)", line)
        assert match, said
        yield Served(psutil.Process(process.pid), match[1], said)
    finally:
        process.kill()  # its guard stops Triton, for which no test waits
        process.wait()
        listener.join()
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(scope="session")
def served(repository: Path) -> Iterator[Served]:
    """A server whose processes are left alone: no request may end any of them."""
    with serve(repository) as running:
        pids = {process.pid for process in running.processes()}
        yield running
        assert {process.pid for process in running.processes()} == pids, running.said


@pytest.fixture(scope="module")
def mortal(repository: Path) -> Iterator[Served]:
    """A server whose parts may be killed, by one test after the other; each waits until it serves again."""
    with serve(repository, "--restarts", 1000) as running:
        yield running


@pytest.fixture(scope="session")
def expected(served: Served) -> NDArray[np.float32]:
    """The right vectors, from before anything was done to the server."""
    with SentenceEncoder(served.url) as encoder:
        embeddings: NDArray[np.float32] = encoder.encode(SENTENCES)
    return embeddings


def check(fault: str, load: Load, recovery_s: float = 0.0) -> None:
    """Enter the fault into the table that the suite prints at its end, then check the outcomes.

    Every call of the encoders returned the right vectors. A call without retries did as well, or failed because the
    server was unavailable or overloaded. The server recovered within `recovery_bound_s`.
    """
    figures = load.figures
    counts = (figures.right, figures.wrong, len(figures.errors), len(figures.refusals))
    _ROWS.append((fault, *map(str, counts), f"{figures.longest_s:.1f}", f"{recovery_s:.1f}"))
    assert not figures.errors, figures.errors[:3]
    assert figures.wrong == 0
    assert figures.right > 0
    unclear = [error for error in figures.refusals if not isinstance(error, (ServerUnavailable, Overloaded))]
    assert not unclear, unclear[:3]
    assert recovery_s <= recovery_bound_s()


def note(what: str, result: str) -> None:
    """A line below the table."""
    _ROWS.append((what, result))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [row for row in _ROWS if len(row) > 2]
    if rows:
        terminalreporter.section("faults under load")
        heads = ("fault", "right", "wrong", "failed", "refused", "longest call (s)", "recovery (s)")
        widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
        for row in (heads, *rows):
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            terminalreporter.write_line("  ".join(cells))
    for row in _ROWS:
        if len(row) == 2:
            terminalreporter.write_line(f"{row[0]}: {row[1]}")
