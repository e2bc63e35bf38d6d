"""Runs `sentriton serve` in a separate process, until it is ready, fails or ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.commands import SENTRITON
from tests.ports import FREE_PORT_FLAGS


def serve(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SENTRITON, "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def fails(*arguments: object, **environment: str) -> str:
    """The message of a failing `serve`. It must be one sentence, and the exit code must not be 0."""
    process = serve(*arguments, **environment)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


@contextmanager
def running(
    *arguments: object, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str, list[psutil.Process]]]:
    """A ready `serve`: its process, its line, and its descendants."""
    process = serve(*arguments, *FREE_PORT_FLAGS, **(environment or {}))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=10)[1]
        yield process, line, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate()


def wait_until_gone(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
