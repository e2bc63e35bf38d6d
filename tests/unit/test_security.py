"""Messages of `serve` about keys and certificates that cannot work, before Triton starts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sentriton import InvalidInput
from sentriton_server.serving import LaunchError, ServerSettings
from sentriton_server.serving.security import Security, check_security

AUTHORITY = trustme.CA()


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    """A certificate and its key, as settings."""
    return write_pair(tmp_path, AUTHORITY.issue_cert("*.example.com"))


def write_pair(folder: Path, issued: trustme.LeafCert) -> dict[str, str]:
    issued.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    return {"tls_certificate": str(folder / "certificate.pem"), "tls_key": str(folder / "key.pem")}


def refused(says: str, **settings: Any) -> None:
    with pytest.raises(LaunchError, match=says):
        check_security(ServerSettings(**settings))


@pytest.mark.parametrize("key", ["", " x", "x\n", "schlüssel"])
def test_a_key_that_no_header_carries(key: str) -> None:
    for field in ("access_key", "admin_key"):
        with pytest.raises(InvalidInput, match=f"{field} is a value that is not shown; allowed are printable ASCII"):
            ServerSettings(**{field: key})


def test_keys_of_callers_and_admins_differ() -> None:
    refused("are the same", access_key="one", admin_key="one")


def test_keys_are_not_shown() -> None:
    assert "geheim" not in repr(ServerSettings(access_key="geheim-1", admin_key="geheim-2"))


def test_a_pair_that_belongs_together(pair: dict[str, str]) -> None:
    check_security(ServerSettings(**pair))
    check_security(ServerSettings(**pair, client_root_certificates=pair["tls_certificate"]))


def test_half_a_pair(pair: dict[str, str]) -> None:
    refused("must be set together", tls_certificate=pair["tls_certificate"])
    refused("must be set together", tls_key=pair["tls_key"])
    refused("mutual TLS needs TLS", client_root_certificates=pair["tls_certificate"])


def test_the_key_of_another_certificate(pair: dict[str, str]) -> None:
    AUTHORITY.issue_cert("other.example.com").private_key_pem.write_to_path(pair["tls_key"])
    refused("is not the key of", **pair)


def test_files_that_are_something_else(pair: dict[str, str], tmp_path: Path) -> None:
    swapped = {"tls_certificate": pair["tls_key"], "tls_key": pair["tls_certificate"]}
    refused("is not a certificate in PEM", **swapped)
    refused("is not a private key in PEM", **{**pair, "tls_key": pair["tls_certificate"]})
    refused("cannot be read", **{**pair, "tls_key": str(tmp_path / "missing")})


def test_an_encrypted_key(pair: dict[str, str]) -> None:
    path = Path(pair["tls_key"])
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    refused("is encrypted", **pair)


def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    refused("renew it", **write_pair(tmp_path, AUTHORITY.issue_cert("example.com", not_after=yesterday)))


def test_http_beside_tls(pair: dict[str, str]) -> None:
    refused("HTTP protocol has no TLS", **pair, http_port=8000)


def test_administrative_protocols_are_locked_without_a_key_and_nobody_knows_it(tmp_path: Path) -> None:
    first, second = (Security.prepare(ServerSettings(http_port=8000), tmp_path).arguments for _ in range(2))
    assert [argument.split("=")[0] for argument in first] == ["--grpc-restricted-protocol", "--http-restricted-api"]
    assert all("model-repository" in argument for argument in first)
    assert first != second


def test_the_canary_of_mutual_tls_has_a_certificate_of_its_own(pair: dict[str, str], tmp_path: Path) -> None:
    settings = ServerSettings(**pair, client_root_certificates=pair["tls_certificate"], access_key="key")
    client = Security.prepare(settings, tmp_path).client
    assert client.server_name == "canary.example.com"
    assert client.access_key == "key"
    assert client.client_key is not None
    assert Path(client.client_key).stat().st_mode & 0o077 == 0
