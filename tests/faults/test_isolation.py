"""The load of one caller does not slow another beyond its share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton import InvalidInput, SentenceEncoder, protocol
from sentriton.connection import Connection
from tests.bounds import bound_s
from tests.faults.conftest import Served, check, note
from tests.faults.flood import Flood, resident_bytes
from tests.faults.load import SENTENCES, Load
from tests.faults.proxy import FaultyProxy

CALLS = 200


def p99_s(encoder: SentenceEncoder) -> float:
    """The 99th percentile of the seconds that single queries take."""
    took = []
    for _ in range(CALLS):
        started = time.monotonic()
        encoder.encode("숙소가 지하철역에서 가까워서 편했어요.")
        took.append(time.monotonic() - started)
        time.sleep(0.005)
    return float(np.quantile(took, 0.99))


@pytest.mark.slow
def test_queries_under_a_flood_of_bulk_work(served: Served) -> None:
    with SentenceEncoder(served.url) as encoder:
        p99_s(encoder)  # warm
        idle_s = p99_s(encoder)
        with Flood(served.url, in_flight=16):
            time.sleep(1)
            flooded_s = p99_s(encoder)
    note(
        "p99 of queries",
        f"{1e3 * idle_s:.0f} ms idle, {1e3 * flooded_s:.0f} ms in a flood of bulk ({flooded_s / idle_s:.1f} times)",
    )
    assert flooded_s < 5 * idle_s


@contextmanager
def misbehaving(act: object, callers: int = 2) -> Iterator[None]:
    """Threads that repeat this."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.is_set():
                act()  # type: ignore[operator]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures


def test_callers_that_cancel(served: Served, expected: NDArray[np.float32]) -> None:
    # Triton does not tell a step of an ensemble about a cancelled caller, so its rows are computed.
    connection = Connection(served.url)
    request = protocol.text_request(SENTENCES[:16])

    def cancel() -> None:
        call = connection.start_infer(request, 5)
        time.sleep(0.05)
        call.cancel()

    with misbehaving(cancel, callers=1), Load(served.url, expected) as load:
        time.sleep(5)
    connection.close()
    check("callers that cancel all the time", load)


def test_callers_that_disconnect(served: Served, expected: NDArray[np.float32]) -> None:
    with FaultyProxy(served.url) as proxy:

        def disconnect() -> None:
            connection = Connection(proxy.url)
            calls = [connection.start_infer(protocol.text_request(SENTENCES[:8]), 5) for _ in range(2)]
            time.sleep(0.1)
            proxy.reset()
            assert all(call.exception() is not None or call.result().outputs for call in calls)
            connection.close()

        with misbehaving(disconnect, callers=1), Load(served.url, expected) as load:
            time.sleep(5)
    check("callers that disconnect all the time", load)


def test_a_reader_that_does_not_read(served: Served, expected: NDArray[np.float32]) -> None:
    # 16 answers of 64 KiB each, which the caller does not read.
    request = protocol.text_request(SENTENCES, protocol.parameters(priority="bulk"))
    with FaultyProxy(served.url) as proxy:
        connection = Connection(proxy.url)
        connection.infer(protocol.asset_request("manifest.json"), 10)
        memory = resident_bytes(served.processes())
        with Load(served.url, expected) as load:
            proxy.hold_answers()
            calls = [connection.start_infer(request, 60) for _ in range(16)]
            time.sleep(6)
            grown = resident_bytes(served.processes()) / memory - 1
            proxy.let_answers_through()
            answers = [protocol.read_sentence_embedding(call.result()) for call in calls]
        connection.close()
    check("a reader that does not read for 6 s", load)
    for embeddings in answers:
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    assert grown < 0.2


def test_messages_that_are_too_large(served: Served, expected: NDArray[np.float32]) -> None:
    connection = Connection(served.url)
    request = protocol.text_request(["가" * 100_000] * 64)  # 19 MB

    def send() -> None:
        with pytest.raises(InvalidInput, match="19,200,000 bytes in 64 rows; allowed are 1,048,576 per request"):
            connection.infer(request, 30)
        time.sleep(0.1)

    with misbehaving(send), Load(served.url, expected) as load:
        time.sleep(5)
    connection.close()
    check("messages of 19 MB", load)
    assert load.figures.longest_s < bound_s(5, 30)
