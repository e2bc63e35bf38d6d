"""Queries precede bulk work, and a full lane rejects requests at once."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.errors import InvalidInput, Overloaded
from sentriton.tokenization import pack_rows
from sentriton_server.repository import record_files
from sentriton_server.serving import prepare_repository
from tests.server.conftest import RunningServer
from tests.servers import started

# At once if others wait already, else at the deadline.
TOO_LATE = r"lane is full: a turn comes in about .* this request may wait 0\.0 s|Request timeout expired: it waited"
SENTENCE = "숙소가 지하철역에서 가까워서 편했어요."


@contextmanager
def bulk_flood(url: str, callers: int = 3) -> Iterator[list[float]]:
    """Continuous bulk work from several callers. Yields the seconds of each request of 64 rows."""
    stop = threading.Event()
    took: list[float] = []

    def work() -> None:
        with SentenceEncoder(url, priority="bulk") as encoder:
            while not stop.is_set():
                started = time.monotonic()
                encoder.encode([SENTENCE * 3] * 64)
                took.append(time.monotonic() - started)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield took
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_queries_do_not_wait_for_the_bulk_work_before_them(server: RunningServer) -> None:
    with SentenceEncoder(server.url) as encoder, bulk_flood(server.url) as bulk:
        time.sleep(0.5)
        queries = []
        for _ in range(50):
            started = time.monotonic()
            encoder.encode(SENTENCE)
            queries.append(time.monotonic() - started)
            time.sleep(0.02)
    print(f"\nmedian: query {1e3 * np.median(queries):.1f} ms, bulk {1e3 * np.median(bulk):.1f} ms")
    assert np.median(queries) < 0.5 * np.median(bulk)


@pytest.fixture
def narrow_server(tmp_path: Path) -> Iterator[str]:
    """A server with lanes of 64 rows."""
    repository = tmp_path / "repository"
    shutil.copytree(prepare_repository(None, precision="fp32", device="cpu"), repository)
    config = repository / "embed_tokens/config.pbtxt"
    narrowed = re.sub(r'(key: "WAITING_ROWS"\s+value {\s+string_value: )"\d+"', r'\1"64"', config.read_text())
    assert narrowed != config.read_text()
    config.write_text(narrowed)
    record_files(repository)
    with started(repository) as server:
        yield server.url


def test_a_full_lane_turns_requests_away_and_the_client_comes_again(narrow_server: str) -> None:
    request = protocol.text_request([SENTENCE * 5] * 64, protocol.parameters(priority="bulk", timeout_s=30))
    connections = [Connection(narrow_server) for _ in range(8)]

    def call(connection: Connection) -> str:
        try:
            protocol.read_sentence_embedding(connection.infer(request, 30))
        except Overloaded as error:
            return str(error)
        return "embedded"

    with ThreadPoolExecutor(8) as pool:
        outcomes = [outcome for _ in range(4) for outcome in pool.map(call, connections)]
        refused = [outcome for outcome in outcomes if outcome != "embedded"]
        assert refused, "eight requests at a time fit into a lane for one"
        assert len(refused) < len(outcomes)
        assert all(re.search(r"the bulk lane is full: \d+ rows wait, at most 64 may", outcome) for outcome in refused)
        with SentenceEncoder(narrow_server) as encoder:
            expected = encoder.encode(SENTENCE)
            together = list(pool.map(lambda _: encoder.encode([SENTENCE] * 100), range(8)))
    for embeddings in together:
        np.testing.assert_allclose(embeddings, np.tile(expected, (100, 1)), atol=1e-5)
    for connection in connections:
        connection.close()


def test_a_request_that_may_not_wait_is_told_so_when_its_caller_has_left(server: RunningServer) -> None:
    parameters = protocol.parameters(priority="bulk", timeout_s=0.000001)
    requests = [
        protocol.text_request([SENTENCE], parameters),
        protocol.tokens_request(pack_rows([[7] * 9]), parameters),
    ]
    connection = Connection(server.url)
    with bulk_flood(server.url, callers=1):
        for request in requests:
            started = time.monotonic()
            with pytest.raises(Overloaded, match=TOO_LATE):
                connection.infer(request, 30)
            # Triton 24.10 can crash if the answer meets the cancellation at the deadline.
            assert time.monotonic() - started >= 0.5
    connection.close()


def test_an_unknown_lane_is_refused(server: RunningServer) -> None:
    request = protocol.text_request([SENTENCE], {"lane": "fast"})
    connection = Connection(server.url)
    with pytest.raises(InvalidInput, match="lane is 'fast'; allowed are 'query', 'bulk'"):
        connection.infer(request, 30)
    connection.close()


@pytest.mark.parametrize("parameters", [{}, {"canary_key": ""}, {"canary_key": "guessed"}], ids=str)
def test_the_canarys_lane_is_closed_to_callers(parameters: dict[str, str], server: RunningServer) -> None:
    request = protocol.text_request([SENTENCE], {"lane": "canary", **parameters})
    connection = Connection(server.url)
    with pytest.raises(InvalidInput, match="lane is 'canary'; allowed are 'query', 'bulk'"):
        connection.infer(request, 30)
    connection.close()


def test_what_a_cancelled_call_asked_for_is_not_computed(server: RunningServer) -> None:
    rows = pack_rows([[7] * 128] * 64)
    request = protocol.tokens_request(rows, protocol.parameters(priority="bulk", timeout_s=60))
    connection = Connection(server.url)
    server.wait_for_counts()
    before = server.metric("sentriton_rows_total", lane="bulk")
    cancelled = server.metric("sentriton_refused_requests_total", reason="cancelled")
    calls = [connection.start_infer(request, 60) for _ in range(40)]
    deadline = time.monotonic() + 30
    while not any(call.done() for call in calls):  # the others wait in the queue
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for call in calls:
        call.cancel()
    while server.metric("sentriton_refused_requests_total", reason="cancelled") < cancelled + 12:
        assert time.monotonic() < deadline, "the server does not know of the cancelled calls"
        time.sleep(0.2)
    server.wait_for_counts()
    assert server.metric("sentriton_rows_total", lane="bulk") - before < 20 * 64, "half of them were computed"
    connection.close()
