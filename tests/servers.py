"""Tritons of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentriton_server.serving import ServerSettings, TritonServer
from tests.ports import FREE_PORTS


@contextmanager
def started(repository: Path, settings: ServerSettings = FREE_PORTS) -> Iterator[TritonServer]:
    """A server that serves. It is killed at the end, since Triton waits three seconds when it is stopped."""
    with TritonServer(repository, settings) as server:
        try:
            yield server
        finally:
            server.kill()
