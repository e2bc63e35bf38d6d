"""Ports for servers: free ones or given ones."""

from __future__ import annotations

import socket
from dataclasses import replace

from sentriton_server.serving.ports import Ports
from sentriton_server.settings import ServerSettings
from tests.conftest import cannot_run

FREE_PORTS = ServerSettings(grpc_port=0, metrics_port=0)
FREE_PORT_FLAGS = ("--grpc-port", "0", "--metrics-port", "0")


def with_free_ports(settings: ServerSettings) -> ServerSettings:
    """The settings with a currently free port in place of every port 0."""
    ports = Ports(replace(settings, grpc_port=0, http_port=0, metrics_port=0))
    ports.release()
    free = ports.settings
    return replace(
        settings,
        grpc_port=settings.grpc_port or free.grpc_port,
        http_port=free.http_port if settings.http_port == 0 else settings.http_port,
        metrics_port=settings.metrics_port or free.metrics_port,
    )


def check_ipv6() -> None:
    """Skips the test if this machine has no loopback address of IPv6, and fails it in CI."""
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError as error:
        cannot_run(f"needs the loopback address ::1 ({error.strerror})")
