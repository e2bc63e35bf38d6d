"""What the tests without a real server share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.small_server import SmallServer


@pytest.fixture
def server() -> Iterator[SmallServer]:
    """In place of a real one."""
    with SmallServer() as server:
        yield server
