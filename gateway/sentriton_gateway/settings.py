"""The settings of the gateway with their defaults. `ClientSettings` has those of its client."""

from __future__ import annotations

from dataclasses import dataclass

from sentriton.allowed import ABOVE_0, HOST, KEY, PORT, TRUTH, matching, whole
from sentriton.declaration import check_settings, name_of, setting
from sentriton.errors import InvalidInput

_NETWORK = "Gateway"
_ANSWERS = "Gateway's answers"
_SECURITY = "Gateway's security"
_LIMITS = "Gateway's limits"


@dataclass(frozen=True)
class GatewaySettings:
    """The settings of the gateway. Raises `InvalidInput` for an invalid value."""

    gateway_host: str = setting(
        "127.0.0.1",
        "Address of the OpenAI API.",
        group=_NETWORK,
        allowed=HOST,
        unit="host",
    )
    gateway_port: int = setting(
        8080,
        "Port of the OpenAI API. 0 takes a free port.",
        group=_NETWORK,
        allowed=PORT,
        unit="port",
    )
    gateway_model_name: str | None = setting(
        None,
        "Second name of the model, for tools that request a model of OpenAI by name.",
        group=_ANSWERS,
        allowed=matching(r"\S+", "names without spaces"),
        unit="name",
        unset="the model's own name only",
    )
    gateway_normalize: bool = setting(
        False,
        "Scale every vector to length 1, including truncated ones, as OpenAI does. "
        "If off, the gateway returns the vectors of `encode`.",
        group=_ANSWERS,
        allowed=TRUTH,
    )
    gateway_access_key: str | None = setting(
        None,
        "Key of the callers (`Authorization: Bearer KEY`). All users of the machine see a flag, so set the variable.",
        group=_SECURITY,
        allowed=KEY,
        unit="key",
        unset="callers need the server's access key, if it has one",
        secret=True,
        lock=True,
    )
    gateway_tls_certificate: str | None = setting(
        None,
        "PEM file of the gateway's certificate.",
        group=_SECURITY,
        unit="file",
        unset="no TLS, or with `serve` the server's certificate",
    )
    gateway_tls_key: str | None = setting(None, "PEM file of the certificate's key.", group=_SECURITY, unit="file")
    gateway_client_root_certificates: str | None = setting(
        None,
        "PEM file of the authorities that sign the callers' certificates.",
        group=_SECURITY,
        unit="file",
        unset="no mutual TLS",
    )
    gateway_max_body_mib: int = setting(
        16, "Largest body of a request.", group=_LIMITS, allowed=whole(1, of="MiB"), unit="MiB"
    )
    gateway_max_inputs: int = setting(
        2048, "Largest number of inputs in a request.", group=_LIMITS, allowed=whole(1), unit="inputs"
    )
    gateway_max_calls: int = setting(
        512,
        "Largest number of requests in progress. The gateway rejects further ones with the status 429.",
        group=_LIMITS,
        allowed=whole(1),
        unit="requests",
    )
    gateway_body_timeout_s: float = setting(
        60.0,
        "Time limit for receiving the headers or the body of a request. "
        "The gateway also closes a connection whose caller reads none of a response for this long.",
        group=_LIMITS,
        allowed=ABOVE_0,
        unit="seconds",
    )
    gateway_exit_timeout_s: float = setting(
        30.0,
        "Longest time to finish the requests in progress after a stop signal. "
        "The gateway rounds it to whole seconds, at least 1.",
        group=_LIMITS,
        allowed=ABOVE_0,
        unit="seconds",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        certificate, key = self.gateway_tls_certificate, self.gateway_tls_key
        if (certificate is None) != (key is None):
            given = "gateway_tls_certificate" if key is None else "gateway_tls_key"
            raise InvalidInput(f"{name_of(self, given)} is set, but a certificate and its key must be set together")
        if self.gateway_client_root_certificates is not None and certificate is None:
            fields = ("gateway_client_root_certificates", "gateway_tls_certificate", "gateway_tls_key")
            roots_name, certificate_name, key_name = (name_of(self, field) for field in fields)
            raise InvalidInput(f"{roots_name} needs {certificate_name} and {key_name}: mutual TLS needs TLS")
