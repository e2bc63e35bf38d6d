"""A load balancer that closes after TLS, since its backend is down. The error must not blame a missing certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from sentriton import AccessDenied, SentenceEncoder, ServerUnavailable
from sentriton.keywords import Settings
from tests.server.certificates import Certificates, write_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@contextlib.contextmanager
def balancer(certificates: Certificates, *, ending: str, tickets: int = 2) -> Iterator[str]:
    """The address of a port that ends each connection after the TLS handshake. It sends a close_notify, the end of the
    stream, or a reset. "asks" ends no connection, and requires a client certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.set_alpn_protocols(["h2"])
    context.num_tickets = tickets
    if ending == "asks":
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.authority)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with plain, contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                    if ending == "notify":
                        secure.unwrap()
                    if ending == "reset":
                        secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"localhost:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("ending", "tickets"), [("notify", 2), ("end", 2), ("reset", 2), ("notify", 0), ("end", 0), ("reset", 0)]
)
def test_a_connection_that_closes_after_tls_is_no_refusal(
    certificates: Certificates, ending: str, tickets: int
) -> None:
    url_of = balancer(certificates, ending=ending, tickets=tickets)
    with url_of as url, pytest.raises(ServerUnavailable) as caught:
        SentenceEncoder(url, timeout_s=3, root_certificates=certificates.authority)
    assert "closes after TLS; is its backend up, or does it require a client certificate?" in str(caught.value)


@pytest.mark.parametrize("has_other", [False, True], ids=["none", "a stranger's"])
def test_a_server_of_grpc_refuses_without_an_alert(certificates: Certificates, has_other: bool) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    key, chain, roots = (
        Path(path).read_bytes() for path in (certificates.server_key, certificates.server, certificates.authority)
    )
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, chain)], roots, True))
    server.start()
    identity: Settings = {}
    if has_other:
        identity = {
            "client_certificate": certificates.stranger_client,
            "client_key": certificates.stranger_client_key,
        }
    with pytest.raises(AccessDenied, match="client certificate" if has_other else "give client_certificate"):
        SentenceEncoder(f"localhost:{port}", timeout_s=3, root_certificates=certificates.authority, **identity)
    server.stop(None).wait()


def test_an_alert_is_a_refusal(certificates: Certificates) -> None:
    with balancer(certificates, ending="asks") as url, pytest.raises(AccessDenied, match="requires a client cert"):
        SentenceEncoder(url, timeout_s=3, root_certificates=certificates.authority)
