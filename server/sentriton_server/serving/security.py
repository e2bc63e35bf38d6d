"""TLS, mutual TLS and access keys, as Triton's arguments."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from sentriton.declaration import name_of
from sentriton.settings import ClientSettings
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.ports import in_url
from sentriton_server.settings import ServerSettings

# Triton's names. `health` stays open, because probes have no keys.
INFERENCE_PROTOCOLS = "inference,metadata,model-config"
ADMINISTRATIVE_PROTOCOLS = "model-repository,shared-memory,statistics,trace,logging"


@dataclass(frozen=True)
class Security:
    """Triton's `arguments`, and the settings of the launcher's own `client`, the canary."""

    arguments: list[str]
    client: ClientSettings

    @classmethod
    def prepare(cls, settings: ServerSettings, folder: Path) -> Security:
        """Write the files for Triton and the canary into `folder`, which must be private. Raises `LaunchError`."""
        check_security(settings)
        # If unset, the admin key is a random secret.
        admin_key = settings.admin_key or secrets.token_urlsafe(32)
        arguments = _restrict(settings, ADMINISTRATIVE_PROTOCOLS, "admin-key", admin_key)
        if settings.access_key is not None:
            arguments += _restrict(settings, INFERENCE_PROTOCOLS, "access-key", settings.access_key)
        url = f"{in_url(settings.host)}:{settings.grpc_port}"
        if settings.tls_certificate is None:
            return cls(arguments, ClientSettings(url, access_key=settings.access_key))
        # Absolute, because Triton has another current folder. Links are kept, because they lead to renewed
        # certificates.
        arguments += [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={Path(settings.tls_certificate).absolute()}",
            f"--grpc-server-key={Path(str(settings.tls_key)).absolute()}",
        ]
        certificate, key = None, None
        if settings.client_root_certificates is not None:
            # This Triton also trusts a certificate that is made for the canary.
            certificate, key = _write_identity(folder)
            trusted = folder / "client-root-certificates.pem"
            given = Path(settings.client_root_certificates).read_bytes()
            trusted.write_bytes(given + b"\n" + Path(certificate).read_bytes())
            arguments += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={trusted}"]
        return cls(
            arguments,
            ClientSettings(
                url,
                # The canary accepts exactly the server's certificate, regardless of its issuer and its names.
                root_certificates=settings.tls_certificate,
                server_name=_certified_name(_read_certificate("--tls-certificate", settings.tls_certificate)),
                client_certificate=certificate,
                client_key=key,
                access_key=settings.access_key,
            ),
        )


def check_security(settings: ServerSettings) -> None:
    """Raises `LaunchError` for equal access and admin keys, and for certificates that are missing, unreadable, expired
    or do not match their key.
    """
    certificate_name, key_name = name_of(settings, "tls_certificate"), name_of(settings, "tls_key")
    roots_name = name_of(settings, "client_root_certificates")
    if settings.access_key is not None and settings.access_key == settings.admin_key:
        raise LaunchError(
            f"{name_of(settings, 'access_key')} and {name_of(settings, 'admin_key')} are the same; "
            "callers must not have the admin key"
        )
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise LaunchError(f"{certificate_name} and {key_name} must be set together; one of them is missing")
    if settings.tls_certificate is None or settings.tls_key is None:
        if settings.client_root_certificates is not None:
            raise LaunchError(f"{roots_name} needs {certificate_name} and {key_name}: mutual TLS needs TLS")
        return
    if settings.http_port is not None:
        raise LaunchError(
            f"Triton's HTTP protocol has no TLS: leave out {name_of(settings, 'http_port')}, "
            "or put a proxy with TLS in front of the server"
        )
    certificate = _read_certificate(certificate_name, settings.tls_certificate)
    if _public_bytes(certificate) != _public_bytes(_read_key(key_name, settings.tls_key)):
        raise LaunchError(
            f"{key_name} {settings.tls_key} is not the key of {certificate_name} {settings.tls_certificate}"
        )
    if settings.client_root_certificates is not None:
        _read_certificate(roots_name, settings.client_root_certificates)


def _restrict(settings: ServerSettings, protocols: str, key: str, value: str) -> list[str]:
    arguments = [f"--grpc-restricted-protocol={protocols}:{key}={value}"]
    if settings.http_port is not None:
        arguments.append(f"--http-restricted-api={protocols}:{key}={value}")
    return arguments


def _read(flag: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise LaunchError(f"{flag} {path} cannot be read ({error.strerror})") from error


def _read_certificate(flag: str, path: str) -> x509.Certificate:
    """The first certificate of a PEM file, which is the server's own. Its chain may follow."""
    try:
        certificate = x509.load_pem_x509_certificate(_read(flag, path))
    except ValueError as error:
        raise LaunchError(f"{flag} {path} is not a certificate in PEM") from error
    now = datetime.now(timezone.utc)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise LaunchError(
            f"{flag} {path} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}; renew it"
        )
    return certificate


def _read_key(flag: str, path: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(_read(flag, path), password=None)
    except TypeError as error:
        raise LaunchError(f"{flag} {path} is encrypted, but Triton cannot ask for a password; decrypt it") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LaunchError(f"{flag} {path} is not a private key in PEM") from error


def _public_bytes(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certified_name(certificate: x509.Certificate) -> str | None:
    """A name in the certificate, or None to use the address."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    if found := names.get_values_for_type(x509.DNSName):
        return found[0].replace("*", "canary", 1)
    addresses = names.get_values_for_type(x509.IPAddress)
    return str(addresses[0]) if addresses else None


def _write_identity(folder: Path) -> tuple[str, str]:
    """Write a self-signed certificate. Returns the paths of its PEM files: certificate, key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sentriton canary")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    certificate_path, key_path = folder / "canary.pem", folder / "canary.key"
    certificate_path.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(certificate_path), str(key_path)
