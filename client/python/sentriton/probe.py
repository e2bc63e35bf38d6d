"""Why a server gives no answer: one look at its port after a failure, which costs a healthy call nothing."""

from __future__ import annotations

import socket
import ssl

from sentriton.certificates import load_identity
from sentriton.errors import AccessDenied, SentritonError, ServerUnavailable, distrust_words
from sentriton.settings import ClientSettings

_LOOK_S = 1.0
_NO_TLS_REASONS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")


def explained(error: SentritonError, address: str, settings: ClientSettings, timeout_s: float) -> SentritonError:
    """The error of a first call to `address`, with the cause where a look at the port finds one. Takes at most three
    seconds, and no longer than three times `timeout_s`.
    """
    if not isinstance(error, ServerUnavailable):
        return error
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        told = _cause((host.strip("[]"), int(port)), settings, min(_LOOK_S, timeout_s))
    except OSError:  # no such host, nothing that listens, or silence
        return error
    if told is None:
        return error
    told = type(told)(f"no {'access to' if isinstance(told, AccessDenied) else 'answer from'} {address}: {told}")
    told.__cause__ = error
    return told


def _cause(place: tuple[str, int], settings: ClientSettings, timeout_s: float) -> SentritonError | None:
    speaks_tls, lets_in = _try_tls(place, settings, timeout_s)
    if speaks_tls and not settings.uses_tls:
        return ServerUnavailable(
            "this port speaks TLS; set tls (or $SENTRITON_TLS=yes), or root_certificates to the PEM file of the "
            "authority that signed its certificate"
        )
    if speaks_tls and lets_in:
        return _distrust(place, settings, timeout_s)
    if speaks_tls and settings.client_certificate is None:
        return AccessDenied(
            "the server asks for a client's certificate (mutual TLS); give client_certificate and client_key"
        )
    if speaks_tls:
        return AccessDenied(
            f"the server does not accept the client certificate {settings.client_certificate}; give one that an "
            "authority in its --client-root-certificates signed"
        )
    if kind := _http_kind(place, timeout_s):
        return ServerUnavailable(f"{place[1]} is {kind}; give the port of gRPC, 8001 unless --grpc-port is set")
    if settings.uses_tls:
        return ServerUnavailable(
            "this port speaks gRPC without TLS; leave out tls and the certificates, or serve with --tls-certificate"
        )
    return None


def _try_tls(place: tuple[str, int], settings: ClientSettings, timeout_s: float) -> tuple[bool, bool]:
    """Whether the port speaks TLS, and whether its server speaks after the handshake: one that misses or rejects the
    client's certificate closes the connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    load_identity(context, settings)
    with socket.create_connection(place, timeout_s) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=settings.server_name or place[0]) as secure:
                try:
                    # A server of HTTP/2 speaks first.
                    return True, bool(secure.recv(1))
                except TimeoutError:
                    return True, True
                except OSError:
                    return True, False
        except ssl.SSLError as error:
            return error.reason not in _NO_TLS_REASONS, False
        except OSError:  # closed, or silent
            return False, False


def _distrust(place: tuple[str, int], settings: ClientSettings, timeout_s: float) -> SentritonError | None:
    """Why the client does not trust the server's certificate. Of a name with several addresses, gRPC tells only why
    the last one failed.
    """
    context = ssl.create_default_context(cafile=settings.root_certificates)
    load_identity(context, settings)
    try:
        with (
            socket.create_connection(place, timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=settings.server_name or place[0]),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return AccessDenied(distrust_words(error.verify_message))


def _http_kind(place: tuple[str, int], timeout_s: float) -> str:
    """The kind of port that answers to HTTP/1.1; "" for another."""
    with socket.create_connection(place, timeout_s) as plain:
        plain.settimeout(timeout_s)
        plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = plain.recv(4096)
        if not answer.startswith(b"HTTP/"):
            return ""
        while b"\r\n\r\n# " not in answer and len(answer) < 4096 and (more := plain.recv(4096)):
            answer += more
        return "the port of metrics" if b"\r\n\r\n# " in answer else "a port of HTTP"
