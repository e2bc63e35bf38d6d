"""Each test of the client runs with `SentenceEncoder` and with `AsyncSentenceEncoder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.server.conftest import RunningServer


@pytest.fixture
def encoder(connect: Callable[..., Any], server: RunningServer) -> Iterator[Any]:
    """Of either client, connected to the shared server."""
    with closing(connect(server.url)) as encoder:
        yield encoder
