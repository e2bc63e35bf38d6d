"""The gateway's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class GatewayMetrics:
    """One registry, so that several gateways of a process (the tests') do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sentriton_gateway_requests",
            "Requests to /v1/, by path and HTTP status.",
            ["path", "status"],
            registry=self.registry,
        )
        self.duration_s = Histogram(
            "sentriton_gateway_request_duration_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["path"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "sentriton_gateway_requests_in_progress", "Requests to /v1/ in progress.", registry=self.registry
        )
        self.body_bytes = Gauge(
            "sentriton_gateway_body_bytes", "Bytes of the bodies of requests in progress.", registry=self.registry
        )
        self.inputs = Counter("sentriton_gateway_inputs", "Inputs embedded.", registry=self.registry)
        self.tokens = Counter("sentriton_gateway_tokens", "Tokens of the embedded inputs.", registry=self.registry)

    def text(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self.registry)
