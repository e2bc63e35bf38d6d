"""Reserves the ports of a server for the lifetime of its launcher, across restarts of Triton."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import replace
from pathlib import Path

from sentriton.declaration import name_of
from sentriton_server.serving.errors import LaunchError
from sentriton_server.settings import ServerSettings

_PORT_ATTEMPTS = 20  # since another launcher may take a free port at the same moment
_ALL_ADDRESSES = ("0.0.0.0", "::")
_SOCKETS = Path("/proc/net/unix")  # its last column has the names of abstract sockets, with @ for the zero byte


def is_ipv6(host: str) -> bool:
    return ":" in host


def in_url(host: str) -> str:
    """The host before :PORT. An IPv6 address has brackets there."""
    return f"[{host}]" if is_ipv6(host) else host


class Ports:
    """Reserves the ports in `settings`, and replaces each port 0 there by a free one.

    It binds each port but does not listen on it, so Triton can bind the port as well and gets every connection.
    SO_REUSEADDR allows two such binds. Launchers exclude each other by an abstract socket named after address and
    port, which the system removes when the launcher ends. 0.0.0.0 and :: conflict with any other address.

    Raises `LaunchError`, which names the first port that is in use.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._sockets: list[socket.socket] = []
        try:
            self.settings = replace(
                settings,
                grpc_port=self._hold(settings, "grpc_port", "host"),
                http_port=None if settings.http_port is None else self._hold(settings, "http_port", "host"),
                metrics_port=self._hold(settings, "metrics_port", "metrics_host"),
            )
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the ports."""
        for held in self._sockets:
            held.close()
        self._sockets.clear()

    def _hold(self, settings: ServerSettings, port_field: str, host_field: str) -> int:
        port, host = getattr(settings, port_field), getattr(settings, host_field)
        name, host_name = name_of(settings, port_field), name_of(settings, host_field)
        for _ in range(_PORT_ATTEMPTS):
            held = socket.socket(socket.AF_INET6 if is_ipv6(host) else socket.AF_INET, socket.SOCK_STREAM)
            self._sockets.append(held)
            # Without SO_REUSEADDR, connections that ended recently would block the port. To choose a free port it is
            # off, since the system could otherwise choose a port of another launcher.
            if port:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held.bind((host, port))
            except OSError as error:
                if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                    raise LaunchError(
                        f"{host_name} {host!r} is not an address of this machine ({error.strerror}); give an IPv4 or "
                        "IPv6 address of it, or a name that has an IPv4 address"
                    ) from error
                raise LaunchError(_taken(name, host, port, error.strerror)) from error
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            address, chosen, *_ = held.getsockname()
            if self._lock(address, chosen):
                return int(chosen)
            if port:
                raise LaunchError(_taken(name, host, port, "another sentriton serve holds it"))
        raise LaunchError(f"no free port was found on {host}; name one with {name}")

    def _lock(self, address: str, port: int) -> bool:
        """Lock this port on an address, and return whether no other launcher has it on a conflicting address."""
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets.append(lock)
        try:
            lock.bind(f"\0{_lock_name(address, port)}")
        except OSError:
            return False
        # Reads the others after taking its own lock: of two simultaneous launchers, at least one sees the other.
        others = _locked_addresses(port) - {address}
        return not (others if address in _ALL_ADDRESSES else others.intersection(_ALL_ADDRESSES))


def _locked_addresses(port: int) -> set[str]:
    """The addresses on which launchers have locked this port. Empty if the system does not list its sockets."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = [line.rpartition("@")[2] for line in _SOCKETS.read_text(errors="replace").splitlines()]
    prefix = _lock_name("", port)
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def _lock_name(address: str, port: int) -> str:
    return f"sentriton-{port}-{address}"


def _taken(name: str, host: str, port: int, why: str | None) -> str:
    return f"port {port} on {host} cannot be used ({why}); choose another with {name} (0 takes a free one)"
