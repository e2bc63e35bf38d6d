"""Finds the cause of a failure, with one probe of the server's port."""

from __future__ import annotations

import os
import re
import socket
import ssl
from http.client import HTTPConnection, HTTPException

from sentriton.certificates import load_identity
from sentriton.errors import AccessDenied, SentritonError, ServerUnavailable, distrust_words
from sentriton.settings import ClientSettings

_LOOK_S = 1.0
_OWN_MACHINE = re.compile(r"(.*/)?(localhost|127\.[\d.]+|0\.0\.0\.0|\[::1?\]):\d+")


def proxy_of(address: str) -> str | None:
    """The variable of the proxy that gRPC asks for `address`, if any. It must not ask one for this machine."""
    if _OWN_MACHINE.fullmatch(address):
        return None
    return next((name for name in ("grpc_proxy", "https_proxy", "http_proxy") if os.environ.get(name)), None)


def explained(error: SentritonError, address: str, settings: ClientSettings, timeout_s: float) -> SentritonError:
    """The error of a first call to `address`, with the cause if a probe of the port finds one. The probe takes at most
    three seconds and three times `timeout_s`.
    """
    if not isinstance(error, ServerUnavailable):
        return error
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        told = _cause((host.strip("[]"), int(port)), settings, min(_LOOK_S, timeout_s))
    except OSError:  # unknown host, no listener, or a timeout
        return error
    if told is None and (proxy := proxy_of(address)):
        told = ServerUnavailable(f"its port is open, but not through the proxy in ${proxy}; add {host} to $no_proxy")
    if told is None:
        return error
    told = type(told)(f"no {'access to' if isinstance(told, AccessDenied) else 'answer from'} {address}: {told}")
    told.__cause__ = error
    return told


def _cause(place: tuple[str, int], settings: ClientSettings, timeout_s: float) -> SentritonError | None:
    try:
        after = _try_tls(place, settings, timeout_s)
    except ssl.SSLCertVerificationError as error:
        # For a name with several addresses, gRPC reports only the last failure.
        return AccessDenied(distrust_words(error.verify_message))
    if after and not settings.uses_tls:
        return ServerUnavailable(
            "this port speaks TLS; set tls (or $SENTRITON_TLS=yes), or root_certificates to its authority's PEM file"
        )
    if after == "refuses":
        return AccessDenied(
            f"the server does not accept the client certificate {settings.client_certificate}; give one that its "
            "--client-root-certificates signed"
            if settings.client_certificate
            else "the server requires a client certificate (mutual TLS); give client_certificate and client_key"
        )
    if after == "closes":
        return ServerUnavailable("it closes after TLS; is its backend up, or does it require a client certificate?")
    if not after and (kind := _http_kind(place, timeout_s)):
        return ServerUnavailable(f"{place[1]} is {kind}; give the port of gRPC, 8001 unless --grpc-port is set")
    if not after and settings.uses_tls:
        return ServerUnavailable(
            "this port speaks gRPC without TLS; leave out tls and the certificates, or serve with --tls-certificate"
        )
    return None


def _try_tls(
    place: tuple[str, int],
    settings: ClientSettings,
    timeout_s: float,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> str:
    """The outcome of the TLS handshake; "refuses" if the client's certificate is missing or rejected."""
    context = ssl.create_default_context(cafile=settings.root_certificates)
    context.maximum_version = newest
    if not settings.uses_tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    load_identity(context, settings)
    secure = None
    with socket.create_connection(place, timeout_s) as plain:
        try:
            secure = context.wrap_socket(plain, server_hostname=settings.server_name or place[0])
            with secure:
                if secure.recv(1):  # an HTTP/2 server sends first
                    return "goes on"
                # A gRPC server sends no alert, and no ticket to a rejected client.
                if secure.version() == "TLSv1.2" or (secure.session and secure.session.has_ticket):
                    return "closes"
            # Some servers send no ticket. In TLS 1.2, a rejection ends the handshake.
            return "closes" if _try_tls(place, settings, timeout_s, ssl.TLSVersion.TLSv1_2) == "closes" else "refuses"
        except ssl.SSLCertVerificationError:
            raise
        except TimeoutError:
            return "" if secure is None else "goes on"
        except OSError as error:
            if "ALERT" in (getattr(error, "reason", "") or ""):
                return "refuses"
            return "closes" if secure else ""


def _http_kind(place: tuple[str, int], timeout_s: float) -> str:
    connection = HTTPConnection(*place, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        return "the port of metrics" if connection.getresponse().read(2) == b"# " else "a port of HTTP"
    except HTTPException:
        return ""
    finally:
        connection.close()
