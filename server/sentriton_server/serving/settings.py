"""How one Triton is started: every setting, in one place, with its default."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sentriton_server.serving.errors import LaunchError


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

    def __post_init__(self) -> None:
        if not 0 < self.ready_timeout_s < math.inf:
            raise LaunchError(f"--ready-timeout is {self.ready_timeout_s}; it must be a number of seconds above 0")
        if self.exit_timeout_s < 0:
            raise LaunchError(f"--exit-timeout is {self.exit_timeout_s}; it must be 0 or more seconds")
