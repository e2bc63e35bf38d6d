"""Several servers, of which one says nothing while its connection stays up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from sentriton import DeadlineExceeded
from tests.faults.proxy import FaultyProxy
from tests.small_server import WORDS, SmallServer, silent_from, vectors
from tests.waiting import SOON_S

SENTENCES = WORDS[:400]


@pytest.fixture
def two() -> Iterator[tuple[SmallServer, SmallServer]]:
    with SmallServer() as first, SmallServer() as second:
        yield first, second


def test_a_server_that_falls_silent_is_left_alone(
    connect: Callable[..., Any], two: tuple[SmallServer, SmallServer]
) -> None:
    silent, other = two
    silent.delay_s = other.delay_s = 0.02
    with closing(connect(f"{silent.url},{other.url}")) as encoder:
        silent.refuse = silent_from(20, silent)
        started = time.monotonic()
        np.testing.assert_array_equal(encoder.encode(WORDS[:3000], batch_size=8), vectors(WORDS[:3000]))
        assert time.monotonic() - started < SOON_S
        assert silent.received > 20
        silent.refuse = silent_from(-1, silent)
        # As long as it stays silent it gets one request at a time, which another server answers.
        while silent.under_way:
            time.sleep(0.01)
        asked, silent.at_once = silent.received, 0
        least, most = time.monotonic() + 2, time.monotonic() + SOON_S
        while time.monotonic() < least or silent.received == asked:
            assert time.monotonic() < most, "it never gets another request"
            np.testing.assert_array_equal(encoder.encode(SENTENCES, batch_size=8), vectors(SENTENCES))
        assert silent.at_once == 1
        assert silent.received - asked <= 6
        silent.silent.clear()
        asked, end = silent.received, time.monotonic() + 2 * SOON_S
        while silent.received < asked + 20:
            assert time.monotonic() < end, "it answers and gets nothing to do"
            encoder.encode(SENTENCES, batch_size=8)


def test_a_server_that_is_silent_from_the_beginning(
    connect: Callable[..., Any], two: tuple[SmallServer, SmallServer]
) -> None:
    silent, other = two
    silent.silent.set()
    started = time.monotonic()
    with closing(connect(f"{silent.url},{other.url}")) as encoder:
        np.testing.assert_array_equal(encoder.encode(SENTENCES), vectors(SENTENCES))
    assert time.monotonic() - started < SOON_S


def test_a_connection_that_forwards_nothing(connect: Callable[..., Any], two: tuple[SmallServer, SmallServer]) -> None:
    first, second = two
    second.delay_s = 0.02
    with FaultyProxy(first.url) as proxy, closing(connect(f"{proxy.url},{second.url}")) as encoder:
        encoder.encode(SENTENCES)
        stall = threading.Thread(target=proxy.stall, args=(SOON_S,), daemon=True)
        stall.start()
        np.testing.assert_array_equal(encoder.encode(WORDS[:3000]), vectors(WORDS[:3000]))
        assert stall.is_alive(), "the call waited for the silent connection"


def test_slow_servers_that_answer_do_not_get_twice_the_load(
    connect: Callable[..., Any], two: tuple[SmallServer, SmallServer]
) -> None:
    for server in two:
        server.delay_s = 2.4
    with closing(connect(",".join(server.url for server in two))) as encoder:
        np.testing.assert_array_equal(encoder.encode(WORDS[:32], batch_size=8), vectors(WORDS[:32]))
        received = sum(server.received for server in two)
        assert 4 <= received < 2 * 4
        encoder.encode("w1")
        assert sum(server.received for server in two) == received + 1


def test_all_silent_ends_as_with_one(connect: Callable[..., Any], two: tuple[SmallServer, SmallServer]) -> None:
    url = ",".join(server.url for server in two)
    with closing(connect(url, stall_timeout_s=2.5)) as encoder:
        for server in two:
            server.silent.set()
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=rf"{url} answered no request for 2.5 s.*\(0 of 400 sentences"):
            encoder.encode(SENTENCES)
        assert time.monotonic() - started < SOON_S
    assert sum(server.received for server in two) <= 8
