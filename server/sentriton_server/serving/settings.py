"""How one Triton is started: every setting, in one place, with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSettings:
    """A port of 0 takes any free one; `http_port` None leaves HTTP off. Addresses are loopback unless asked otherwise:
    the wheel's Triton is an older release and not meant to face a network."""

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int | None = None
    metrics_port: int = 8002
    ready_timeout_s: float = 300.0
    exit_timeout_s: int = 30
