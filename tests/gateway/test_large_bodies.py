"""Bodies of many MiB: another process parses them, and the gateway answers others meanwhile."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.exceptions import HTTPException

from sentriton_gateway.large_bodies import LARGE_BYTES, Reader
from tests.gateway.conftest import RunningGateway, running_gateway
from tests.small_server import SmallServer


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """Before a server that computes nothing."""
    with SmallServer() as server:
        server.manifest["name"] = "small"
        with running_gateway(server.url) as running:
            running.post({"input": "w1", "model": "small"})  # it is connected
            yield running


def test_the_vectors_are_those_of_small_bodies(gateway: RunningGateway) -> None:
    words = [f"w{number} {' ' * 1000}" for number in range(2048)]
    answer = gateway.post({"input": words, "model": "small", "dimensions": 2})
    assert [each["embedding"] for each in answer.json()["data"]] == [[float(number)] * 2 for number in range(2048)]


def test_a_request_above_a_limit_before_the_server_is_refused() -> None:
    server = SmallServer()
    server.manifest["name"] = "small"
    server.most_bytes = 5_000
    with server, running_gateway(server.url) as running:
        answer = running.post({"input": ["w1 w2 " * 50] * 64, "model": "small"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "message_too_large")
        assert "vs. 5000" in answer.json()["error"]["message"]
        assert running.post({"input": ["w1"] * 64, "model": "small"}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"input": "w1"},
        {"input": ["w1", 3], "model": "small"},
        {"input": [[1, "x"]], "model": "small"},
        {"input": ["w1"] * 2049, "model": "small"},
        {"input": "w1", "model": "small", "dimension": 1},
        [],
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_fault_of_a_large_body_is_that_of_a_small_one(gateway: RunningGateway, body: object) -> None:
    small = json.dumps(body)
    answers = [post(gateway, text) for text in (small, small + " " * LARGE_BYTES)]
    assert answers[0].json() == answers[1].json()
    assert [answer.status_code for answer in answers] == [400, 400]


def test_a_large_body_that_is_no_json(gateway: RunningGateway) -> None:
    for text in ('{"input": [', "[" * LARGE_BYTES):
        answer = post(gateway, text + " " * LARGE_BYTES)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_an_integer_of_thousands_of_digits_is_named(gateway: RunningGateway) -> None:
    small = f'{{"input": [{"9" * 5000}], "model": "small"}}'
    for text in (small, small + " " * LARGE_BYTES):
        message = post(gateway, text).json()["error"]["message"]
        assert message == "the body has an integer of more than 4,300 digits; send token ids or dimensions"


def test_others_are_answered_meanwhile(gateway: RunningGateway) -> None:
    """Millions of small lists take seconds to read."""
    small_lists = b'{"model": "small", "input": [' + b"[1]," * ((15 << 20) // 4) + b"[1]]}"
    waits_s: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=gateway.url, timeout=60) as client:
            while not over.is_set():
                started = time.monotonic()
                client.get("/health")
                waits_s.append(time.monotonic() - started)
                over.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    answer = post(gateway, small_lists)
    over.set()
    asking.join()
    assert answer.json()["error"]["message"] == "input has 3932161 elements; allowed are 1 to 2048"
    assert max(waits_s) < 1, "a probe gives up after a second"


def test_a_reader_that_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HTTPException) as caught:
        asyncio.run(Reader(2048).read(b"{}"))
    assert caught.value.status_code == 413


def test_a_reader_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*command: str, **options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
    with pytest.raises(HTTPException, match="Too many open files") as caught:
        asyncio.run(Reader(2048).read(b"{}"))
    assert caught.value.status_code == 429


def post(gateway: RunningGateway, text: str | bytes) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/embeddings", content=text, headers={"Content-Type": "application/json"}, timeout=60
    )
