"""The settings of a client. Argument, environment variable and flag have the name of the field."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from sentriton import declaration
from sentriton.allowed import ABOVE_0, KEY, TRUTH, Allowed, one_of, whole
from sentriton.declaration import check_settings, setting, source_of
from sentriton.errors import InvalidInput
from sentriton.keywords import ModelChange, Priority
from sentriton.protocol import CALLERS_LANES

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sentriton.keywords import Settings

# The fields for reaching a server.
CONNECTION_FIELDS = (
    "url",
    "timeout_s",
    "tls",
    "root_certificates",
    "client_certificate",
    "client_key",
    "server_name",
    "access_key",
)

_DEADLINES = "Deadlines"
_REQUESTS = "Requests"
_SECURITY = "Security"
_FILES = "Files"


def _addresses(url: str) -> tuple[str, ...]:
    return tuple(address.strip() for address in url.split(","))


def _is_address(address: str) -> bool:
    match = re.fullmatch(r"(?:dns://[^\s/]*/)?(?:[^\s:/\[\]\ud800-\udfff]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", address)
    return match is not None and 1 <= int(match[1]) <= 65535


_URL = Allowed(
    "host:port, several of them separated by commas, or dns:///host:port",
    lambda url: isinstance(url, str) and all(map(_is_address, _addresses(url))),
)


@dataclass(frozen=True)
class ClientSettings:
    """The settings of a client. Encoders and `resolve` read environment variables, but `ClientSettings()` does not.
    Raises `InvalidInput` for an invalid value.

    With several addresses in `url`, a request goes to the server with the fewest requests in flight. gRPC
    re-resolves the name in dns:///host:port.
    """

    url: str = setting(
        "localhost:8001",
        "Address of the server. Several addresses, separated by commas, share the requests.",
        group="Server",
        allowed=_URL,
        unit="host:port",
    )
    timeout_s: float | None = setting(
        None,
        "Deadline of the whole call, retries included. In a stream, it bounds each chunk.",
        group=_DEADLINES,
        allowed=ABOVE_0,
        unit="seconds",
        unset="no deadline",
        former_flag="--timeout",
    )
    stall_timeout_s: float = setting(
        60.0,
        "The call fails if none of its requests is answered for this long.",
        group=_DEADLINES,
        allowed=ABOVE_0,
        unit="seconds",
        former_flag="--stall-timeout",
    )
    priority: Priority = setting(
        "query",
        "Lane of the server. Requests of the bulk lane wait for those of the query lane.",
        group=_REQUESTS,
        allowed=one_of(*CALLERS_LANES),
        unit="lane",
    )
    max_in_flight: int = setting(
        16,
        "Largest number of requests of one call that are in flight.",
        group=_REQUESTS,
        allowed=whole(1),
        unit="requests",
    )
    on_model_change: ModelChange = setting(
        "raise",
        "Reaction to another model on the server: raise ContractMismatch, or reload the manifest and restart the call "
        "with that model, at most three times. A stream always raises.",
        group=_REQUESTS,
        allowed=one_of(*get_args(ModelChange)),
        unit="action",
    )
    tls: bool = setting(False, "Encrypt with TLS. A certificate turns it on as well.", group=_SECURITY, allowed=TRUTH)
    root_certificates: str | None = setting(
        None, "PEM file of the authorities that the client trusts.", group=_SECURITY, unit="file", unset="gRPC's own"
    )
    client_certificate: str | None = setting(
        None, "PEM file of the client's certificate, for mutual TLS. It needs the key.", group=_SECURITY, unit="file"
    )
    client_key: str | None = setting(None, "PEM file of the certificate's key.", group=_SECURITY, unit="file")
    server_name: str | None = setting(
        None,
        "Name in the server's certificate, if it differs from the address.",
        group=_SECURITY,
        unit="name",
        unset="the address's host",
    )
    access_key: str | None = setting(
        None,
        "Access key of the server, sent as the header triton-grpc-protocol-access-key and never shown.",
        group=_SECURITY,
        allowed=KEY,
        unit="key",
        secret=True,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if (self.client_certificate is None) != (self.client_key is None):
            given = "client_certificate" if self.client_key is None else "client_key"
            raise InvalidInput(
                f"{source_of(self, given) or given} is set, but a client certificate and its key must be set together"
            )

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses in `url`. The client opens a channel for each."""
        return _addresses(self.url)

    @property
    def uses_tls(self) -> bool:
        """Whether TLS is on. Certificates turn it on."""
        return self.tls or self.root_certificates is not None or self.client_certificate is not None

    @classmethod
    def resolve(cls, url: str | None = None, **given: Unpack[Settings]) -> ClientSettings:
        """Return settings from the given values (None: unset), else the variables `$SENTRITON_<FIELD>`, such as
        `$SENTRITON_URL`, else the defaults.
        """
        return declaration.resolve(cls, {"url": url, **given})


@dataclass(frozen=True)
class CacheSettings:
    """The cache folder."""

    cache: Path | None = setting(
        None,
        "Folder for files that are kept between runs: tokenizers, exports, compiled operators, data sets.",
        group=_FILES,
        unit="folder",
        unset="sentriton in $XDG_CACHE_HOME or ~/.cache",
    )


@dataclass(frozen=True)
class EvaluationSettings:
    """The additional settings of `sentriton evaluate`."""

    checkpoint: str | None = setting(
        None,
        "Folder or hub id of the served model. `evaluate` also runs it in its own process, and compares both results.",
        group=_FILES,
        unit="checkpoint",
        unset="no comparison",
    )
