"""Everything about a client that can be set: argument = environment variable = field, with its default here and only
here.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentriton.arguments import one_of, positive, whole_number
from sentriton.errors import InvalidInput
from sentriton.protocol import LANES

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sentriton.keywords import Settings

MODEL_CHANGE = ("raise", "reload")


@dataclass(frozen=True)
class ClientSettings:
    """How to reach a server. A field left out comes from `$SENTRITON_<FIELD>`, such as `$SENTRITON_URL`.

    `url` is host:port, several of them with commas between (round robin over all that answer), or dns:///host:port
    (round robin over the host's addresses, looked up again as they change). `timeout_s` bounds a whole call (None: no
    bound). `stall_timeout_s` ends a call when none of its requests was answered for this long.
    `priority` is the server's lane: query, or bulk, which waits behind. `max_in_flight` bounds the requests of one
    call that are under way. `on_model_change` says what a call does that meets another model than the one it began
    with: raise `ContractMismatch`, or reload, which is to read the manifest again and begin anew with that model; a
    stream raises in any case. `tls` encrypts; `root_certificates` (a PEM file) names who to trust, and
    `client_certificate` with `client_key` (PEM files) say who is calling. `server_name` is the name in the server's
    certificate where it is not the address's, behind a forwarded port, say. `access_key` is sent as the header that
    Triton's `--grpc-restricted-protocol=...:access-key=<value>` asks for.
    """

    url: str = "localhost:8001"
    timeout_s: float | None = None
    stall_timeout_s: float = 60.0
    priority: str = "query"
    max_in_flight: int = 16
    on_model_change: str = "raise"
    tls: bool = False
    root_certificates: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    access_key: str | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        one_of("priority", self.priority, LANES)
        one_of("on_model_change", self.on_model_change, MODEL_CHANGE)
        if self.timeout_s is not None:
            positive("timeout_s", self.timeout_s)
        positive("stall_timeout_s", self.stall_timeout_s)
        whole_number("max_in_flight", self.max_in_flight)
        if not isinstance(self.tls, bool):
            raise InvalidInput(f"tls is {self.tls!r}; allowed are True, False")
        if self.access_key is not None and not re.fullmatch(r"[!-~]([ -~]*[!-~])?", str(self.access_key)):
            # Not shown: it is a secret.
            raise InvalidInput("access_key cannot be sent; allowed are printable ASCII characters, without a line end")
        if (self.client_certificate is None) != (self.client_key is None):
            raise InvalidInput("client_certificate and client_key belong together; one of them is missing")
        if not self.addresses or not all(map(_is_address, self.addresses)):
            raise InvalidInput(f"url is {self.url!r}; give host:port, several with commas between, or dns:///host:port")

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses in `url`, each a target of its own."""
        return tuple(address.strip() for address in str(self.url).split(",") if address.strip())

    @property
    def uses_tls(self) -> bool:
        """Naming certificates is asking for TLS."""
        return self.tls or self.root_certificates is not None or self.client_certificate is not None

    @classmethod
    def resolve(cls, url: str | None = None, **given: Unpack[Settings]) -> ClientSettings:
        """Settings from what is given (None: not given), then the environment, then the defaults."""
        values: dict[str, Any] = {name: value for name, value in {"url": url, **given}.items() if value is not None}
        for field in dataclasses.fields(cls):
            variable = f"SENTRITON_{field.name.upper()}"
            if field.name not in values and (text := os.environ.get(variable)):
                values[field.name] = _parse(variable, text, str(field.type).removesuffix(" | None"))
        return cls(**values)


def _is_address(address: str) -> bool:
    match = re.fullmatch(r"(?:dns://[^\s/]*/)?(?:[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", address)
    return match is not None and 1 <= int(match[1]) <= 65535


def _parse(variable: str, text: str, kind: str) -> Any:
    if kind == "bool":
        if text.lower() not in ("0", "1", "false", "true", "no", "yes"):
            raise InvalidInput(f"${variable} is {text!r}; allowed are 1, true, yes, 0, false, no")
        return text.lower() in ("1", "true", "yes")
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError as error:
            raise InvalidInput(f"${variable} is {text!r}; it must be a number") from error
    return text


def read_pem(path: str | None) -> bytes | None:
    """The content of a PEM file, None for None. Raises `InvalidInput` that names the file."""
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read certificate file {path}: {error.strerror}") from error
