"""How one Triton is started: every setting, in one place, with its default."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from sentriton_server.serving.errors import LaunchError


@dataclass(frozen=True)
class ServerSettings:
    """A port of 0 takes any free one; `http_port` None leaves HTTP off. Addresses are loopback unless asked otherwise:
    the wheel's Triton is an older release and not meant to face a network.

    `tls_certificate` and `tls_key` (PEM files) encrypt gRPC; with `client_root_certificates` (a PEM file of
    authorities) only clients with a certificate that one of them signed get in. `access_key` is what inference asks
    for, `admin_key` what the administrative protocols ask for; without one those are refused to everybody.

    `trace_url` (OTLP over HTTP) turns on OpenTelemetry's export of traces: one request in `trace_rate`, and every one
    that its caller traces.

    `max_connection_age_s` ends a connection that is older, politely: a client that finds its servers by DNS asks again
    then, and sees those that came since. None: connections stay.

    `row_cache_mib` is memory for embeddings of rows, so that the same rows are not computed again; 0: none.

    Every `canary_period_s` the supervisor embeds a golden sentence, and waits `canary_timeout_s` for it. It starts a
    Triton that fails again, up to `restarts` times in a row.
    """

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 8002
    tls_certificate: str | None = None
    tls_key: str | None = None
    client_root_certificates: str | None = None
    access_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    trace_url: str | None = None
    trace_rate: int = 1000
    max_connection_age_s: int | None = None
    row_cache_mib: int = 0
    canary_period_s: float = 5.0
    canary_timeout_s: float = 15.0
    restarts: int = 5
    ready_timeout_s: float = 300.0
    exit_timeout_s: int = 30

    def __post_init__(self) -> None:
        for flag, seconds in (
            ("--canary-period", self.canary_period_s),
            ("--canary-timeout", self.canary_timeout_s),
            ("--ready-timeout", self.ready_timeout_s),
        ):
            if not 0 < seconds < math.inf:
                raise LaunchError(f"{flag} is {seconds}; it must be a number of seconds above 0")
        if self.trace_url is not None and not re.fullmatch(r"https?://[^\s,]+", self.trace_url):
            raise LaunchError(
                f"--trace-url is {self.trace_url!r}; give OTLP's address over HTTP, such as http://localhost:4318/v1/traces"
            )
        if self.trace_rate < 0:
            raise LaunchError(f"--trace-rate is {self.trace_rate}; it must be 0 (callers' traces alone) or more")
        if self.max_connection_age_s is not None and self.max_connection_age_s < 1:
            raise LaunchError(f"--max-connection-age is {self.max_connection_age_s}; it must be 1 or more seconds")
        if self.row_cache_mib < 0:
            raise LaunchError(f"--row-cache-mib is {self.row_cache_mib}; it must be 0 (off) or more MiB")
        if self.restarts < 0:
            raise LaunchError(f"--restarts is {self.restarts}; it must be 0 (never restart Triton) or more")
        if self.exit_timeout_s < 0:
            raise LaunchError(f"--exit-timeout is {self.exit_timeout_s}; it must be 0 or more seconds")
