"""The errors of the Python client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

CLOSED = "this encoder is closed; make a new one"


class SentritonError(Exception):
    """Base class of all errors of Sentriton. A closed encoder raises this class itself."""


class InvalidInput(SentritonError, ValueError):
    """An argument or request is wrong. The message names the given and the allowed values. A retry cannot help."""


class ContractMismatch(InvalidInput):
    """The server's model differs from the model in the client's manifest."""


class AccessDenied(SentritonError):
    """The server rejects the access key or the client certificate, or the client distrusts the server's certificate."""


class Overloaded(SentritonError):
    """An overloaded server rejected the request and did not compute it. A call first retries within its limits."""


class ServerUnavailable(SentritonError):
    """The server is unreachable or unhealthy. A call first retries within its limits."""


class DeadlineExceeded(SentritonError):
    """The call exceeded `timeout_s`, or none of its requests was answered for `stall_timeout_s`."""


class ServerError(SentritonError):
    """The server failed or returned an invalid response. The message names the reason."""


_BY_STATUS: dict[grpc.StatusCode, type[SentritonError]] = {
    **dict.fromkeys(grpc.StatusCode, ServerError),
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: ServerUnavailable,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
}

_DISTRUST_WORDS = "certificate_verify_failed|hostname verification check failed"
# The words of gRPC libraries, of Envoy, and of gRPC for a proxy's HTTP status.
_TOO_LARGE_WORDS = (
    "(message|decompression) larger than max|a size larger than|message exceeds maximum size|message length too large"
    "|maximum configured message size|payload too large|(status:|status code|server:) 413"
)
# Where a status says less than the message: the status's class, the words, and the error's class. The first one counts.
_BY_WORDS: tuple[tuple[type[SentritonError], str, type[SentritonError]], ...] = (
    (ServerUnavailable, "lane is full|exceeds maximum queue size|request timeout expired", Overloaded),
    (ServerUnavailable, f"this protocol is restricted|{_DISTRUST_WORDS}", AccessDenied),
    (InvalidInput, "fingerprint mismatch", ContractMismatch),
    (Overloaded, _TOO_LARGE_WORDS, InvalidInput),
    (ServerError, _TOO_LARGE_WORDS, InvalidInput),
    # A full /dev/shm: the request was not computed, and room comes back with the answers in progress.
    (ServerError, "failed to increase the shared memory pool size", Overloaded),
    (ServerError, "is not healthy|rst_stream|stream removed", ServerUnavailable),
)
# The whole message of a call that a stopping Triton breaks off.
_BROKEN_OFF_MESSAGE = "CANCELLED"
# gRPC's words before the reason why no connection came about.
_NOT_CONNECTED = re.compile(r"connections to all backends failing; last error: (?:[A-Z]+: )?(?:ipv[46]:\S+: )?")

# The remedy for errors with these words of gRPC or Triton. Without a semicolon it replaces the message.
_HINTS = {
    "failed to connect": "; is it running? `sentriton serve` on that machine starts it",
    "access-key": "; give the server's access_key (or $SENTRITON_ACCESS_KEY)",
    "unknown model: 'assets'": "; it serves no repository of Sentriton, or is still loading it",
    "resol": "its name cannot be resolved; check the spelling of url",
}


def error_class(status: grpc.StatusCode, message: str) -> type[SentritonError]:
    """The error class for a gRPC status and message."""
    kind = _BY_STATUS.get(status, ServerError)
    text = message.lower()
    for told, words, meant in _BY_WORDS:
        if kind is told and re.search(words, text):
            return meant
    if status is grpc.StatusCode.CANCELLED and message == _BROKEN_OFF_MESSAGE:
        return ServerUnavailable
    return kind


def translate(error: grpc.RpcError, address: str) -> SentritonError:
    """The Sentriton error for a gRPC error, with its message and the address."""
    status, message = error.code(), error.details() or ""
    kind = error_class(status, message)
    message = _NOT_CONNECTED.sub("", message)
    hint = next((hint for words, hint in _HINTS.items() if words in message.lower()), "")
    message = f"{message or status.name}{hint}" if hint[:1] in ("", ";") else hint
    if kind is AccessDenied and re.search(_DISTRUST_WORDS, message.lower()):
        message = distrust_words(message)
    if kind is ServerUnavailable:
        return kind(f"no answer from {address}: {message}")
    if kind is AccessDenied:
        return kind(f"no access to {address}: {message}")
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return kind(f"{address} does not know this call: {message}; is it the gRPC port of `sentriton serve`?")
    if kind is InvalidInput and status is not grpc.StatusCode.INVALID_ARGUMENT:
        remedy = "lower batch_size or shorten the sentences, or raise this limit of the server or proxy"
        return kind(f"a message to or from {address} is too large: {message}; {remedy}")
    if kind is DeadlineExceeded:
        return kind(f"{address} did not answer in time: {message}")
    return kind(message)


def distrust_words(reason: str) -> str:
    """Cause and remedy for a server's certificate, by the TLS library's `reason`."""
    if "expired" in reason:
        return "the server's certificate has expired; renew it"
    if "hostname" in reason.lower() or "IP address" in reason:
        return "the server's certificate has another name; give that as server_name"
    words = "no authority that this client trusts signed the server's certificate"
    return f"{words}; give the PEM file of one that did as root_certificates"


def own_error(error: SentritonError, words: str = "") -> SentritonError:
    """A copy of the error for another caller, with `words` after its message."""
    own = type(error)(f"{error}{words}")
    own.__cause__ = error.__cause__
    return own


def progress_words(finished: int, total: int) -> str:
    """A call's progress, for the end of its error's message; empty for a single sentence."""
    return f" ({finished:,} of {total:,} sentences were embedded)" if total > 1 else ""


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Raise gRPC's errors as Sentriton's."""
    try:
        yield
    except grpc.RpcError as error:
        raise translate(error, address) from error
