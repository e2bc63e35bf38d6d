"""How a gRPC channel to a server is set up; the same for the sync and the asyncio client."""

from __future__ import annotations

import json
from typing import Any

import grpc

from sentriton.settings import ClientSettings, read_pem

ACCESS_HEADER = "triton-grpc-protocol-access-key"  # Triton puts `triton-grpc-protocol-` before the name it is given

_OPTIONS: list[tuple[str, Any]] = [
    # gRPC's own limit is 4 MB, 1,000 vectors of 1,024 dimensions.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Each encoder its own connections: else all channels of a process to one address share one.
    ("grpc.use_local_subchannel_pool", 1),
    # A connection that a firewall or a dead node swallowed is noticed while a call waits, not at its deadline.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that comes back is found again soon: gRPC's own back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Servers that moved are found under their new addresses soon: gRPC asks for a name's addresses every 30 s at most.
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    # Despite its name how long a connection may take to come about: TLS to another continent, or to a busy server.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Repeating is the client's own work, inside its deadline and budget.
    ("grpc.enable_retries", 0),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
]


def open_channel(address: str, settings: ClientSettings, library: Any = grpc) -> Any:
    """A channel to one address; `library` is `grpc`, or `grpc.aio` for an asyncio channel."""
    if not settings.uses_tls:
        return library.insecure_channel(address, options=_OPTIONS)
    options = list(_OPTIONS)
    if settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read_pem(settings.root_certificates),
        private_key=read_pem(settings.client_key),
        certificate_chain=read_pem(settings.client_certificate),
    )
    return library.secure_channel(address, credentials, options=options)


def call_metadata(settings: ClientSettings) -> tuple[tuple[str, str], ...]:
    """Headers of every call."""
    return () if settings.access_key is None else ((ACCESS_HEADER, settings.access_key),)
