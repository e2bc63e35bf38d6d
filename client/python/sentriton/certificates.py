"""The PEM files of a client's TLS settings, checked before gRPC reads them: gRPC names a wrong one in its log alone."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from sentriton.declaration import source_of
from sentriton.errors import InvalidInput
from sentriton.settings import ClientSettings


def channel_credentials(settings: ClientSettings) -> grpc.ChannelCredentials | None:
    """The credentials of a channel, None without TLS. Raises `InvalidInput` that names the file that does not fit."""
    if not settings.uses_tls:
        return None
    roots, key, certificate = (
        _content(settings, field) for field in ("root_certificates", "client_key", "client_certificate")
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.root_certificates is not None:
        _check_certificate(context, settings, "root_certificates")
    if settings.client_certificate is not None:
        _check_certificate(context, settings, "client_certificate")
        load_identity(context, settings)
    return grpc.ssl_channel_credentials(roots, key, certificate)


def load_identity(context: ssl.SSLContext, settings: ClientSettings) -> None:
    """Give a context the client's certificate, if there is one. Raises `InvalidInput` for a key that does not fit."""
    if settings.client_certificate is None or settings.client_key is None:
        return
    try:
        # A passphrase that is asked for on the terminal would help the check, and not gRPC.
        context.load_cert_chain(settings.client_certificate, settings.client_key, password=lambda: "")
    except ssl.SSLError as error:
        given = f"{_name(settings, 'client_key')} is {settings.client_key}, which"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidInput(
                f"{given} does not fit the certificate {settings.client_certificate}; give the key of that certificate"
            ) from error
        raise InvalidInput(f"{given} is no PEM file of a key without a passphrase; give such a file") from error


def _check_certificate(context: ssl.SSLContext, settings: ClientSettings, field: str) -> None:
    path = getattr(settings, field)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise InvalidInput(
            f"{_name(settings, field)} is {path}, which is no PEM file of a certificate; give one that has the line "
            "-----BEGIN CERTIFICATE-----"
        ) from error


def _content(settings: ClientSettings, field: str) -> bytes | None:
    path = getattr(settings, field)
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {_name(settings, field)} {path}: {error.strerror}; give a PEM file") from error


def _name(settings: ClientSettings, field: str) -> str:
    return source_of(settings, field) or field
