"""Callers that send slowly, or go: they hold nothing that others wait for."""

from __future__ import annotations

import json
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.gateway.conftest import RunningGateway, running_gateway
from tests.small_server import SmallServer
from tests.waiting import until

TIMEOUT_S = 2.0
BODY = {"input": "w1", "model": "small"}
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """Before a server that computes nothing; two requests may be in progress."""
    with SmallServer() as server:
        server.manifest["name"] = "small"
        flags = ("--gateway-body-timeout-s", TIMEOUT_S, "--gateway-max-calls", 2)
        with running_gateway(server.url, *flags) as running:
            assert running.post(BODY).status_code == 200
            yield running


def connect(gateway: RunningGateway, content: bytes) -> socket.socket:
    """A connection that has sent this."""
    connection = socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])), timeout=30)
    connection.sendall(content)
    return connection


def test_bodies_that_do_not_arrive_give_their_places_back(gateway: RunningGateway) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(gateway, HEAD % 1000 + b'{"input"')) for _ in range(2)]
        until(lambda: "sentriton_gateway_requests_in_progress 2.0" in metrics(gateway))
        assert gateway.post(BODY).status_code == 429
        answers = [connection.makefile("rb").read() for connection in slow]  # to the end: they are closed
        assert gateway.post(BODY).status_code == 200
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers), answers
        assert all(b"the body did not arrive within 2 s; send fewer inputs at a time" in answer for answer in answers)


@pytest.mark.parametrize("begun", [b"", HEAD[:20]], ids=["nothing", "half a head"])
def test_a_connection_without_a_request_is_closed(gateway: RunningGateway, begun: bytes) -> None:
    with connect(gateway, begun) as connection:
        started = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - started > 0.5 * TIMEOUT_S


def test_a_body_in_pieces_is_answered(gateway: RunningGateway) -> None:
    pieces = [b'{"input":', b'"w1","model"', b':"small"}']
    with connect(gateway, HEAD % len(b"".join(pieces))) as connection:
        for piece in pieces:
            time.sleep(0.2 * TIMEOUT_S)
            connection.sendall(piece)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_large_bodies_of_callers_that_go_are_given_up(gateway: RunningGateway) -> None:
    """Such a body takes the reader a second, and it reads one at a time."""
    small_lists = b'{"model": "small", "input": [' + b"[1]," * (1 << 20) + b"[1]]}"
    for _ in range(4):
        with connect(gateway, HEAD % len(small_lists) + small_lists):
            until(lambda: "sentriton_gateway_requests_in_progress 1.0" in metrics(gateway))
        until(lambda: "sentriton_gateway_requests_in_progress 0.0" in metrics(gateway))
    gone = re.search(r'requests_total\{path="/v1/embeddings",status="499"\} (\d+)', metrics(gateway))
    assert gone is not None
    assert int(gone[1]) == 4


def test_an_answer_that_nobody_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MB, which is more than the system takes of it. Without an end it would stay in the gateway's memory."""
    monkeypatch.setattr("tests.small_server.DIMENSION", 2000)
    body = json.dumps({"model": "모델", "input": ["w1"] * 2048}).encode()
    request = HEAD.replace(b"Host: x", b"Host: x\r\nConnection: close") % len(body) + body
    with (
        SmallServer() as server,
        running_gateway(server.url, "--gateway-body-timeout-s", TIMEOUT_S) as small,
        connect(small, request) as slow,
        connect(small, request) as unread,
    ):
        whole = bytes_until_end(slow, pause_s=0.01)
        assert whole > 16_000_000
        time.sleep(2.5 * TIMEOUT_S)
        assert bytes_until_end(unread) < whole


def test_callers_of_all_descriptors_do_not_fill_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    with SmallServer() as server, running_gateway(server.url) as small, ExitStack() as stack:
        body = {**BODY, "model": "모델"}
        assert small.post(body).status_code == 200
        most = len(list(Path(f"/proc/{small.process.pid}/fd").iterdir())) + 4
        resource.prlimit(small.process.pid, resource.RLIMIT_NOFILE, (most, most))
        for _ in range(20):
            stack.enter_context(connect(small, b""))
        time.sleep(2.5)
        stack.close()
        assert small.post(body).status_code == 200
    assert 1 <= capfd.readouterr().err.count("out of system resource") <= 10, "one a second"


def test_the_gateway_may_open_more_files_than_its_shell() -> None:
    program = """
import resource
from sentriton_gateway import service
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
service._allow_connections()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "(300, 300)\n"


def bytes_until_end(connection: socket.socket, pause_s: float = 0.0) -> int:
    """How many bytes come, with a pause behind each piece."""
    size = 0
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            size += len(piece)
            time.sleep(pause_s)
    return size


def test_all_bodies_together_have_a_limit(gateway: RunningGateway) -> None:
    """16 of the largest, for any number of requests: here of 1 MiB, and each lacks its last byte."""
    largest, body = 1 << 20, {**BODY, "model": "모델"}
    flags = ("--gateway-max-body-mib", 1)
    with SmallServer() as server, running_gateway(server.url, *flags) as small, ExitStack() as stack:
        assert small.post(body).status_code == 200
        for _ in range(16):
            stack.enter_context(connect(small, HEAD % largest + b" " * (largest - 1)))
        until(lambda: body_bytes(small) == 16 * (largest - 1))
        assert small.post(body).status_code == 429
        stack.close()
        until(lambda: body_bytes(small) == 0)
        assert small.post(body).status_code == 200


def body_bytes(gateway: RunningGateway) -> float:
    value = re.search(r"^sentriton_gateway_body_bytes (.+)$", metrics(gateway), re.MULTILINE)
    assert value is not None
    return float(value[1])


def metrics(gateway: RunningGateway) -> str:
    return httpx.get(f"{gateway.url}/metrics").text
