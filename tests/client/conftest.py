"""A small server in place of a real one, for the client alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.joined import Callers
from tests.small_server import SmallServer


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The client needs no torch: nothing to set, and seconds of each process saved."""


@pytest.fixture
def server() -> Iterator[SmallServer]:
    """One that answers right unless a test changes it."""
    with SmallServer() as server:
        yield server


@pytest.fixture
def callers(server: SmallServer) -> Iterator[Callers]:
    callers = Callers(server)
    yield callers
    server.silent.clear()
    callers.encoder.close()
    callers.pool.shutdown()
