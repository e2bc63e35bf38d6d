"""A caller's trace continues in the server: Triton exports spans over OTLP, children of the caller's own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from sentriton import AsyncSentenceEncoder, InvalidInput, SentenceEncoder
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository
from tests.waiting import until


class Collector(ThreadingHTTPServer):
    """Keeps the bodies that are posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def has(self, trace_id: int) -> bool:
        """Whether spans of this trace have come; ids are hexadecimal in OTLP's JSON, and 16 bytes in its messages."""
        forms = (format(trace_id, "032x").encode(), trace_id.to_bytes(16, "big"))
        return any(form in body for body in self.bodies for form in forms)


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(collector: Collector) -> Iterator[TritonServer]:
    repository = prepare_repository(None, precision="fp32", device="cpu")
    settings = ServerSettings(grpc_port=0, metrics_port=0, trace_url=collector.url, trace_rate=0)
    with TritonServer(repository, settings) as running:
        yield running


@pytest.fixture(scope="module")
def tracer() -> Tracer:
    return TracerProvider().get_tracer("caller")


def test_every_way_to_encode_goes_on_with_the_callers_trace(
    server: TritonServer, collector: Collector, tracer: Tracer
) -> None:
    trace_ids = []
    with SentenceEncoder(server.url) as encoder:
        encoder.encode("nobody traces this")
        with tracer.start_as_current_span("encode") as span:
            encoder.encode(["하나", "둘"])
            trace_ids.append(span.get_span_context().trace_id)
        with tracer.start_as_current_span("encode_stream") as span:
            assert sum(len(chunk) for chunk in encoder.encode_stream(["하나", "둘", "셋"], chunk_size=2)) == 3
            trace_ids.append(span.get_span_context().trace_id)

    async def encode() -> None:
        async with AsyncSentenceEncoder(server.url) as encoder:
            with tracer.start_as_current_span("asyncio") as span:
                await encoder.encode("하나")
                trace_ids.append(span.get_span_context().trace_id)

    asyncio.run(encode())

    def all_have_come() -> bool:
        return all(map(collector.has, trace_ids))

    until(all_have_come, 20)
    spans = b"".join(collector.bodies)
    for name in (b"embed_tokens", b"sentriton"):
        assert name in spans
    assert b"embed_text" not in spans, "the canary's requests have no trace"


def test_nothing_travels_without_a_span(server: TritonServer, collector: Collector) -> None:
    time.sleep(6)  # Triton's batch of spans goes out every 5 s
    before = len(collector.bodies)
    with SentenceEncoder(server.url) as encoder:
        encoder.encode("nobody traces this")
    time.sleep(6)
    assert len(collector.bodies) == before


def test_a_wrong_address_is_refused() -> None:
    with pytest.raises(InvalidInput, match="trace_url is 'localhost:4317'; allowed are addresses of OTLP over HTTP"):
        ServerSettings(trace_url="localhost:4317")
    with pytest.raises(InvalidInput, match="trace_rate is -1"):
        ServerSettings(trace_rate=-1)
