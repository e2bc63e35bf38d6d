"""Certificates of an authority and of a stranger, as files for server and client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: an authority, its signed certificates, and the same of a stranger."""

    authority: str
    server: str
    server_key: str
    client: str
    client_key: str
    stranger: str
    stranger_client: str
    stranger_client_key: str


def write_certificates(folder: Path) -> Certificates:
    """Create new certificates in `folder`."""

    def write(name: str, *blobs: trustme.Blob) -> str:
        (folder / name).write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(folder / name)

    authority, stranger = trustme.CA(), trustme.CA()
    # For names, but not for the address that the launcher's canary calls.
    server = authority.issue_cert("localhost", "embed.example.com")
    client, stranger_client = authority.issue_cert("caller@example.com"), stranger.issue_cert("caller@example.com")
    return Certificates(
        authority=write("authority.pem", authority.cert_pem),
        server=write("server.pem", *server.cert_chain_pems),
        server_key=write("server.key", server.private_key_pem),
        client=write("client.pem", *client.cert_chain_pems),
        client_key=write("client.key", client.private_key_pem),
        stranger=write("stranger.pem", stranger.cert_pem),
        stranger_client=write("stranger-client.pem", *stranger_client.cert_chain_pems),
        stranger_client_key=write("stranger-client.key", stranger_client.private_key_pem),
    )
