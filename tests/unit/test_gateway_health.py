"""The address that the gateway's health check asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sentriton_gateway.health import request_health
from sentriton_gateway.settings import GatewaySettings


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listener(host: str) -> Iterator[int]:
    """The port of an HTTP server in the place of the gateway, without a server of vectors."""
    with HTTPServer((host, 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("bound", "given"),
    [("127.0.0.2", "127.0.0.2"), ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("127.0.0.1", "::")],
)
def test_it_asks_where_the_gateway_listens(bound: str, given: str) -> None:
    with listener(bound) as port:
        assert request_health(GatewaySettings(gateway_host=given, gateway_port=port)) == (True, "")
