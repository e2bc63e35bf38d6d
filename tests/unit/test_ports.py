"""One launcher reserves its ports, and only Triton listens on them."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.ports import Ports
from sentriton_server.serving.preflight import check_ports
from tests.ports import FREE_PORTS, check_ipv6

HOST = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """A server that binds like Triton, with SO_REUSEADDR."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen(128)
    return listener


def test_a_port_is_held_by_one_launcher() -> None:
    first = Ports(FREE_PORTS)
    try:
        for field, flag in (("grpc_port", "--grpc-port"), ("metrics_port", "--metrics-port")):
            port = getattr(first.settings, field)
            with pytest.raises(LaunchError, match=f"port {port} on {HOST} cannot be used .*{flag}"):
                Ports(replace(FREE_PORTS, **{field: port}))
            with pytest.raises(LaunchError, match=f"port {port} on {HOST} cannot be used"):
                check_ports(replace(FREE_PORTS, **{field: port}))
    finally:
        first.release()
    Ports(first.settings).release()


def test_triton_listens_beside_the_held_port_and_gets_all_connections() -> None:
    ports = Ports(FREE_PORTS)
    address = (HOST, ports.settings.grpc_port)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        for _ in range(2):  # and after a restart
            with listen(address[1]) as triton:
                for _ in range(100):
                    with socket.create_connection(address, timeout=5):
                        accepted, _ = triton.accept()
                        accepted.close()  # its port now waits for the last packets
        with listen(address[1]), pytest.raises(LaunchError):
            Ports(replace(FREE_PORTS, grpc_port=address[1]))
    finally:
        ports.release()
    Ports(ports.settings).release()


@pytest.mark.parametrize(
    ("first", "second"),
    [("0.0.0.0", HOST), (HOST, "0.0.0.0"), ("0.0.0.0", "0.0.0.0"), ("::", HOST), ("::1", "::"), ("::", "0.0.0.0")],
)
def test_all_addresses_and_one_of_them_exclude_each_other(first: str, second: str) -> None:
    if ":" in first:
        check_ipv6()
    held = Ports(replace(FREE_PORTS, host=first))
    port = held.settings.grpc_port
    try:
        with pytest.raises(LaunchError, match=f"port {port} on {second} cannot be used .*--grpc-port"):
            Ports(replace(FREE_PORTS, host=second, grpc_port=port))
    finally:
        held.release()
    Ports(replace(FREE_PORTS, host=second, grpc_port=port)).release()


def test_two_addresses_have_the_same_port_each() -> None:
    first = Ports(FREE_PORTS)
    try:
        Ports(replace(FREE_PORTS, host="127.0.0.2", grpc_port=first.settings.grpc_port)).release()
    finally:
        first.release()
