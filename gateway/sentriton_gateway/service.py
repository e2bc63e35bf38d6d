"""Runs the gateway until a signal, and ends after the requests in progress."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import threading
import time
from contextlib import suppress

import uvicorn

from sentriton import ClientSettings
from sentriton.declaration import name_of
from sentriton.errors import InvalidInput, SentritonError
from sentriton_gateway.application import make_application
from sentriton_gateway.callers import counting, patient_protocol
from sentriton_gateway.settings import GatewaySettings

_WAITING_CONNECTIONS = 2048
_MOST_DESCRIPTORS = 65_536
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GLANCE_S = 0.5  # between two checks of the parent process


class _Listener(socket.socket):
    """A listening socket from which asyncio accepts one connection at a time.

    Without a free file descriptor, asyncio pauses for a second, but first it tries and logs as often as its `backlog`.
    """

    def listen(self, backlog: int = 1) -> None:
        """Let more connections wait than asyncio's `backlog`."""
        super().listen(_WAITING_CONNECTIONS)


def bind(settings: GatewaySettings) -> socket.socket:
    """The gateway's socket for `answer_requests`. Raises `SentritonError` if the port is not available, and
    `InvalidInput` for unusable certificates.
    """
    _check_certificates(settings)
    host, port = settings.gateway_host, settings.gateway_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol number, asyncio sets TCP_NODELAY. Without it, an answer takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        names = f"{name_of(settings, 'gateway_host')} {host!r}, {name_of(settings, 'gateway_port')} {port}"
        raise SentritonError(
            f"the gateway cannot listen ({names}): {error.strerror}; choose another port (0 takes a free one)"
        ) from error
    return listener


def url_of(listener: socket.socket, settings: GatewaySettings) -> str:
    """The gateway's address for callers."""
    host = f"[{settings.gateway_host}]" if ":" in settings.gateway_host else settings.gateway_host
    scheme = "http" if settings.gateway_tls_certificate is None else "https"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def answer_requests(
    listener: socket.socket, client: ClientSettings, settings: GatewaySettings, beside: int | None = None
) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP, or until the parent process is no longer `beside`. It takes over
    the listener.
    """
    _allow_connections()
    config = uvicorn.Config(
        counting(make_application(client, settings)),
        lifespan="on",
        loop="asyncio",
        http=patient_protocol(settings.gateway_body_timeout_s),
        log_level="warning",
        access_log=False,
        backlog=1,  # for asyncio, see _Listener
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.gateway_exit_timeout_s)),
        ssl_certfile=settings.gateway_tls_certificate,
        ssl_keyfile=settings.gateway_tls_key,
        ssl_ca_certs=settings.gateway_client_root_certificates,
        ssl_cert_reqs=ssl.CERT_NONE if settings.gateway_client_root_certificates is None else ssl.CERT_REQUIRED,
    )
    server = uvicorn.Server(config)
    # uvicorn raises its signals again, which must have no effect then.
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: setattr(server, "should_exit", True))
    if beside is not None:
        threading.Thread(target=_end_with, args=(beside, server), daemon=True).start()
    server.run(sockets=[_Listener(fileno=listener.detach())])


def _allow_connections() -> None:
    """Raise this process's limit of file descriptors, which is 1024 on many machines, as far as its user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # a sandbox may forbid this
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _end_with(parent: int, server: uvicorn.Server) -> None:
    """End the server after its parent process, so that no gateway survives a killed `serve`."""
    while os.getppid() == parent:
        time.sleep(_GLANCE_S)
    server.should_exit = True


def _check_certificates(settings: GatewaySettings) -> None:
    """Raises `InvalidInput` for unusable certificates, which uvicorn would report in a traceback."""
    if settings.gateway_tls_certificate is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.gateway_tls_certificate, settings.gateway_tls_key)
        context.load_verify_locations(settings.gateway_client_root_certificates or settings.gateway_tls_certificate)
    except OSError as error:  # ssl.SSLError is one
        names = ("gateway_tls_certificate", "gateway_tls_key", "gateway_client_root_certificates")
        set_ones = [name for name in names if getattr(settings, name)]
        given = [f"{name_of(settings, name)} {getattr(settings, name)}" for name in set_ones]
        raise InvalidInput(
            f"the gateway cannot use {', '.join(given)}: {error.strerror or error}; give PEM files that belong together"
        ) from error
