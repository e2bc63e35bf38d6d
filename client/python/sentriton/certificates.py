"""Checks the PEM files of TLS settings, since gRPC reports wrong files only in its log."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from sentriton.declaration import source_of
from sentriton.errors import InvalidInput
from sentriton.settings import ClientSettings


def channel_credentials(settings: ClientSettings) -> grpc.ChannelCredentials | None:
    """The credentials of a channel, None without TLS. Raises `InvalidInput` for an invalid file."""
    if not settings.uses_tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for field in ("root_certificates", "client_certificate"):
        if getattr(settings, field) is not None:
            try:
                context.load_verify_locations(getattr(settings, field))
            except OSError as error:
                raise _wrong(settings, field, error, "has no PEM certificate (-----BEGIN CERTIFICATE-----)") from error
    load_identity(context, settings)
    paths = settings.root_certificates, settings.client_key, settings.client_certificate
    return grpc.ssl_channel_credentials(*(None if path is None else Path(path).read_bytes() for path in paths))


def load_identity(context: ssl.SSLContext, settings: ClientSettings) -> None:
    """Give a context the client's certificate, if set. Raises `InvalidInput` for a key that does not fit."""
    if settings.client_certificate is None:
        return
    try:
        # gRPC takes no passphrase, and the terminal must not ask for one.
        context.load_cert_chain(settings.client_certificate, settings.client_key, password=lambda: "")
    except OSError as error:
        fits = getattr(error, "reason", "") != "KEY_VALUES_MISMATCH"
        words = "has no PEM key without a passphrase" if fits else f"is no key of {settings.client_certificate}"
        raise _wrong(settings, "client_key", error, words) from error


def _wrong(settings: ClientSettings, field: str, error: OSError, words: str) -> InvalidInput:
    if not isinstance(error, ssl.SSLError):
        words = f"cannot be read: {error.strerror}"
    return InvalidInput(f"{source_of(settings, field) or field} is {getattr(settings, field)}, which {words}")
