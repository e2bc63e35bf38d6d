"""The gateway's answers have no advice for callers of the Python client."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import grpc
import pytest

from sentriton import probe
from sentriton.arguments import as_texts
from sentriton.deadline import Deadline
from sentriton.errors import (
    AccessDenied,
    InvalidInput,
    SentritonError,
    ServerError,
    ServerUnavailable,
    progress_words,
    translated,
)
from sentriton_gateway.answers import answer_sentriton_error
from tests.unit.test_errors import Failure

SERVER = "127.0.0.1:8001"
LARGE = "Sent message larger than max (5001 vs. 5000)"
PLAIN_PORT = "this port speaks gRPC without TLS; leave out tls and the certificates, or serve with --tls-certificate"
TLS_PORT = "this port speaks TLS; set tls (or $SENTRITON_TLS=yes), or root_certificates to its authority's PEM file"
KEY_MISSING = "This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'"


def surrogate() -> SentritonError:
    with pytest.raises(InvalidInput) as raised:
        as_texts(["fine", "half \ud83d"])
    return raised.value


def of_grpc(status: grpc.StatusCode, message: str, words: str = "") -> SentritonError:
    with pytest.raises(SentritonError) as raised, translated(SERVER):
        raise Failure(status, message)
    error = type(raised.value)(f"{raised.value}{words}")
    error.__cause__ = raised.value.__cause__
    return error


def distrusted(reason: str) -> SentritonError:
    return of_grpc(grpc.StatusCode.UNAVAILABLE, f"Ssl handshake failed: CERTIFICATE_VERIFY_FAILED: {reason}")


def unchanged(error: SentritonError, status: int) -> tuple[SentritonError, int, str]:
    return error, status, str(error)


ANSWERS: dict[str, tuple[SentritonError, int, str]] = {
    "half a character": (
        surrogate(),
        400,
        r"input[1] has the lone surrogate '\ud83d' at character 5, which has no UTF-8; send whole characters, such as "
        r"both \u escapes of a pair in JSON",
    ),
    "a large message": (
        of_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, LARGE, progress_words(0, 2)),
        413,
        f"a message to or from {SERVER} is too large: {LARGE}; send fewer or shorter inputs, or raise this limit of "
        "the server or proxy",
    ),
    "the deadline": (
        Deadline(5.0, 60.0, 0.0).exceeded(SERVER),
        504,
        "the call took longer than 5 s; send the request again later, or fewer inputs at a time",
    ),
    "silence": (
        Deadline(None, 60.0, 0.0).exceeded(SERVER),
        504,
        f"{SERVER} answered no request for 60 s; send the request again later, or fewer inputs at a time",
    ),
    "the key": (
        of_grpc(grpc.StatusCode.UNAVAILABLE, KEY_MISSING),
        502,
        f"no access to {SERVER}: {KEY_MISSING}; give the server's --access-key (or $SENTRITON_ACCESS_KEY); "
        "--access-key is a setting of the gateway",
    ),
    "the authority": (
        distrusted("unable to get local issuer certificate"),
        502,
        f"no access to {SERVER}: no authority that this client trusts signed the server's certificate; give the PEM "
        "file of one that did as --root-certificates; --root-certificates is a setting of the gateway",
    ),
    "the name": (
        distrusted("Hostname mismatch"),
        502,
        f"no access to {SERVER}: the server's certificate has another name; give that as --server-name; --server-name "
        "is a setting of the gateway",
    ),
    "the address": (
        of_grpc(grpc.StatusCode.UNAVAILABLE, "DNS resolution failed"),
        503,
        f"no answer from {SERVER}: its name cannot be resolved; check the spelling of --url; --url is a setting of the "
        "gateway",
    ),
    "TLS": (
        ServerUnavailable(f"no answer from sentriton-tls:8001: {PLAIN_PORT}"),
        503,
        "no answer from sentriton-tls:8001: this port speaks gRPC without TLS; leave out --tls and the certificates, "
        "or serve with --tls-certificate; --tls is a setting of the gateway",
    ),
    "TLS of the server": (
        ServerUnavailable(f"no answer from sentriton-tls:8001: {TLS_PORT}"),
        503,
        "no answer from sentriton-tls:8001: this port speaks TLS; set --tls (or $SENTRITON_TLS=yes), or "
        "--root-certificates to its authority's PEM file; --tls is a setting of the gateway",
    ),
    "a path": unchanged(
        AccessDenied(
            f"no access to {SERVER}: the server does not accept the client certificate /etc/tls/client_key/tls.crt; "
            "give one that its --client-root-certificates signed"
        ),
        502,
    ),
    "Go's words": unchanged(
        of_grpc(grpc.StatusCode.UNAVAILABLE, "the proxy failed; remote error: tls: handshake failure"), 503
    ),
    "the server's words": unchanged(ServerError("KeyError: 'priority'; set tls, timeout_s"), 502),
    "words of the caller": (
        InvalidInput("prompt_name is 'url'; the model's prompts are 'query'"),
        400,
        "prompt_name is 'url'; the model's prompts are 'query'",
    ),
}


def test_the_phrases_about_tls_are_the_clients() -> None:
    assert all(f'"{words}"' in inspect.getsource(probe) for words in (PLAIN_PORT, TLS_PORT))


@pytest.mark.parametrize(("error", "status", "message"), ANSWERS.values(), ids=ANSWERS)
def test_the_advice_is_for_callers_of_the_gateway(error: SentritonError, status: int, message: str) -> None:
    request: Any = None  # unused
    answer = asyncio.run(answer_sentriton_error(request, error))
    assert (answer.status_code, json.loads(bytes(answer.body))["error"]["message"]) == (status, message)
