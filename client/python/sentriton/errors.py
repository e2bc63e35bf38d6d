"""The errors of Sentriton.

SentritonError
├── InvalidInput (ValueError)
│   └── ContractMismatch
├── AccessDenied
├── Overloaded
├── ServerUnavailable
├── DeadlineExceeded
└── ServerError
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc


class SentritonError(Exception):
    """Base class of all errors of Sentriton."""


class InvalidInput(SentritonError, ValueError):
    """An argument or a request is wrong. The message names the given and the allowed value. A retry cannot help."""


class ContractMismatch(InvalidInput):
    """The server has another model than the one whose manifest this client has read."""


class AccessDenied(SentritonError):
    """The server rejects the access key or the client's certificate, or the client does not trust the server's."""


class Overloaded(SentritonError):
    """The server rejected the request because of overload, and did not compute it."""


class ServerUnavailable(SentritonError):
    """The server cannot be reached or does not serve."""


class DeadlineExceeded(SentritonError):
    """The call's deadline has passed."""


class ServerError(SentritonError):
    """The server failed, or its answer is wrong. The message names the reason."""


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

# Triton's words, if its status code says less.
_OVERLOAD_WORDS = ("lane is full", "exceeds maximum queue size", "request timeout expired")
# A full /dev/shm: the request was not computed, and answers in progress will free space.
_NO_ROOM_WORDS = "failed to increase the shared memory pool size"
_DENIED_WORDS = ("this protocol is restricted", "certificate_verify_failed", "hostname verification check failed")
_SICK_WORDS = ("is not healthy", "rst_stream", "stream removed")
# The whole message of a call that a stopping Triton aborts.
_BROKEN_OFF_MESSAGE = "CANCELLED"
_MISMATCH_WORDS = "fingerprint mismatch"
# gRPC's words before the reason of a failed connection.
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
    if kind is ServerUnavailable and any(words in text for words in _OVERLOAD_WORDS):
        return Overloaded
    if kind is ServerUnavailable and any(words in text for words in _DENIED_WORDS):
        return AccessDenied
    if kind is InvalidInput and _MISMATCH_WORDS in text:
        return ContractMismatch
    if kind is ServerError and _NO_ROOM_WORDS in text:
        return Overloaded
    if kind is ServerError and any(words in text for words in _SICK_WORDS):
        return ServerUnavailable
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
    if kind is AccessDenied and any(words in message.lower() for words in _DENIED_WORDS[1:]):
        message = distrust_words(message)
    if kind is ServerUnavailable:
        return kind(f"no answer from {address}: {message}")
    if kind is AccessDenied:
        return kind(f"no access to {address}: {message}")
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return kind(f"{address} does not know this call: {message}; is it the gRPC port of `sentriton serve`?")
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
