"""Errors in the format of OpenAI's API: a status, and an object with message, type, param and code.

SentritonError           status  code
InvalidInput             400     invalid_value
InvalidInput             413     message_too_large: a limit of gRPC, of the server or a proxy before it
Overloaded               429     rate_limit_exceeded
ContractMismatch         503     model_changed
ServerUnavailable        503     server_unavailable
DeadlineExceeded         504     timeout
AccessDenied             502     access_denied: the server rejects the gateway
ServerError              502     server_error
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from grpc import RpcError, StatusCode
from starlette.exceptions import HTTPException

from sentriton import ClientSettings
from sentriton.declaration import settings_of
from sentriton.errors import (
    AccessDenied,
    ContractMismatch,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    SentritonError,
    ServerError,
    ServerUnavailable,
)
from sentriton_gateway.faults import invalid_field, no_json, shown, unreadable

_BY_CLASS: dict[type[SentritonError], tuple[int, str]] = {
    ContractMismatch: (503, "model_changed"),
    InvalidInput: (400, "invalid_value"),
    Overloaded: (429, "rate_limit_exceeded"),
    ServerUnavailable: (503, "server_unavailable"),
    DeadlineExceeded: (504, "timeout"),
    AccessDenied: (502, "access_denied"),
    ServerError: (502, "server_error"),
    SentritonError: (500, "server_error"),
}
_RETRY_AFTER_S = 1  # in answers with temporary errors
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_PARAMETERS = {
    "sentences": "input",
    "input": "input",
    "truncate_dim": "dimensions",
    "prompt_name": "prompt_name",
}  # by the client's arguments
_FLAGS = {declared.field: declared.flag for declared in settings_of(ClientSettings)}
# The settings in the client's advice. Short words are settings only in its own phrases.
_NAMES = "|".join(name for name in _FLAGS if "_" in name)
_SETTING = re.compile(rf"(?<![\w./:$-])(?:{_NAMES})(?![\w./:-])|(?<=spelling of )url\b|(?<=set |out )tls\b")


class Refused(HTTPException):
    """A request that the gateway itself rejects."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.answer = error_answer(status, message, code, param, headers)


def error_answer(
    status: int, message: str, code: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer with OpenAI's error object."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    content = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    waits = {"Retry-After": str(_RETRY_AFTER_S)} if status in (429, 503) else {}
    if code == "model_changed":  # the retry would get vectors of the new model; OpenAI's clients read this header
        waits = {"x-should-retry": "false"}
    return JSONResponse(content, status, {**waits, **(headers or {})})


async def answer_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.answer


async def answer_sentriton_error(request: Request, error: Exception) -> Response:
    status, code = next(_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS)
    message, param = _for_callers(error), None
    if isinstance(error, InvalidInput):
        if _is_too_large(error):
            status, code = 413, "message_too_large"
        # The client's errors begin with the name of its argument.
        argument = re.match(r"\w*", message)[0]  # type: ignore[index]
        param = _PARAMETERS.get(argument)
        message = f"{param}{message[len(argument) :]}" if param else message
    return error_answer(status, message, code, param)


def _for_callers(error: Exception) -> str:
    """The error's message. Advice for callers of the Python client becomes advice for callers of the gateway."""
    message = str(error)
    # Without the progress at the message's end: a caller of the gateway gets all vectors or none.
    fact = message.partition("; ")[0]
    if isinstance(error, DeadlineExceeded):
        # The time may be another one than the gateway's setting.
        return f"{fact.replace('its timeout_s of ', '')}; send the request again later, or fewer inputs at a time"
    if isinstance(error.__cause__, UnicodeEncodeError):
        return f"{fact}; send whole characters, such as both \\u escapes of a pair in JSON"
    if _is_too_large(error):
        return (
            f"{message.rpartition('; ')[0]}; send fewer or shorter inputs, or raise this limit of the server or proxy"
        )
    # Other errors have words of the caller or the server.
    told, _, advice = message.rpartition("; ")
    if isinstance(error, (AccessDenied, ServerUnavailable)) and told and (named := _SETTING.search(advice)):
        advice = _SETTING.sub(lambda found: _FLAGS[found[0]], advice)
        return f"{told}; {advice}; {_FLAGS[named[0]]} is a setting of the gateway"
    return message


def _is_too_large(error: Exception) -> bool:
    cause = error.__cause__
    if not isinstance(error, InvalidInput) or not isinstance(cause, RpcError):
        return False
    return cause.code() is not StatusCode.INVALID_ARGUMENT


async def answer_http_error(request: Request, error: Exception) -> Response:
    """The answer to an error of Starlette, such as an unknown path."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI hides the reason of an unreadable body
        return error_answer(400, *unreadable(error.__cause__))
    code = _CODES.get(error.status_code, "invalid_request")
    message = f"{request.method} {request.url.path}: {error.detail}"
    return error_answer(error.status_code, message, code, headers=error.headers)


async def answer_invalid_body(request: Request, error: Exception) -> Response:
    """The answer to an invalid body, with pydantic's first error."""
    assert isinstance(error, RequestValidationError)
    fault: Mapping[str, Any] = error.errors()[0]
    if isinstance(fault.get("input"), bytes):  # FastAPI reads no other types as JSON
        given = shown(request.headers.get("content-type", ""))
        message = f"the Content-Type of the body is {given}; send JSON with Content-Type: application/json"
        return error_answer(400, message, "invalid_value")
    if fault["type"] == "json_invalid":
        return error_answer(400, *no_json(fault["ctx"]["error"]))
    return error_answer(400, *invalid_field({**fault, "loc": fault["loc"][1:]}))  # without "body"
