"""`sentriton serve` under load while something is done to it, and the table of what came of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from sentriton_server.serving import prepare_repository
from tests.faults.load import Figures

SENTRITON = str(Path(sys.executable).parent / "sentriton")
STUB = "triton_python_backend_stub"
_ROWS: list[tuple[str, ...]] = []


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
            instance = "triton" if process.name() == "tritonserver" else process.cmdline()[-2].rsplit("_", 2)[0]
            if instance == name:
                return process
        raise AssertionError(f"no process of {name}")

    def restarts(self) -> int:
        """How often Triton was started again."""
        return sum(line.startswith("serving again") for line in self.said)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The bundled checkpoint, exported."""
    return prepare_repository(None, precision="fp32", device="cpu")


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
        process.terminate()
        try:
            process.wait(45)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join()
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[Served]:
    with serve(repository) as running:
        yield running


def wait_for(condition: object, timeout_s: float, what: str) -> None:
    """Poll until `condition()` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def report(fault: str, figures: Figures, recovery_s: float | None) -> None:
    """A row of the table that the suite prints at its end."""
    recovery = "" if recovery_s is None else f"{recovery_s:.1f}"
    counts = (figures.right, figures.wrong, len(figures.errors))
    _ROWS.append((fault, *map(str, counts), f"{figures.longest_s:.1f}", recovery))


def note(what: str, result: str) -> None:
    """A line below the table."""
    _ROWS.append((what, result))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [row for row in _ROWS if len(row) > 2]
    if rows:
        terminalreporter.section("faults under load")
        heads = ("fault", "right", "wrong", "failed", "longest call (s)", "recovery (s)")
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
