"""Checks every request before the application: key and limits. Counts the requests."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentriton_gateway.answers import Refused, error_answer
from sentriton_gateway.callers import within
from sentriton_gateway.metrics import GatewayMetrics
from sentriton_gateway.settings import GatewaySettings

_MIB = 1 << 20
_MOST_DISCARDED_BYTES = 256 * _MIB
_MOST_LARGE_BODIES = 16  # whose memory bounds the bodies of all requests
_GUARDED = "/v1/"  # the page, the metrics and the health check have no key and no limits


class Guard:
    """Rejects, in this order and before it reads a body: too many requests in progress, a wrong key, a large body.

    If `key` is None, no key is required.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings, key: str | None, metrics: GatewayMetrics) -> None:
        self._most_bytes = settings.gateway_max_body_mib * _MIB
        self._app = RequestBodyLimitMiddleware(app, self._most_bytes)
        self._settings = settings
        self._key = None if key is None else key.encode()
        self._metrics = metrics
        self._bodies = _Memory(_MOST_LARGE_BODIES * self._most_bytes)
        metrics.body_bytes.set_function(lambda: self._bodies.held)
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500
        receive = within(self._settings.gateway_body_timeout_s, receive)
        body = _Body(self._bodies, receive)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._in_progress += 1
        self._metrics.in_progress.inc()
        try:
            if (refusal := self._refusal(Headers(scope=scope))) is not None:
                await refusal(scope, receive, noting)
            else:
                await self._app(scope, body.receive, noting)
        finally:
            body.close()
            self._in_progress -= 1
            self._metrics.in_progress.dec()
            # Unknown paths must not become series.
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.duration_s.labels(path).observe(time.monotonic() - started)

    def _refusal(self, headers: Headers) -> ASGIApp | None:
        """The answer to a rejected request, or None."""
        most_calls = self._settings.gateway_max_calls
        if self._in_progress > most_calls:
            message = f"{most_calls} requests are in progress, which is the limit; send this one later"
            return error_answer(429, message, "rate_limit_exceeded")
        if not self._has_key(headers.get("authorization", "")):
            message = "the access key is missing or wrong; send it as the header Authorization: Bearer KEY"
            return error_answer(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._most_bytes:
            message = f"the body has {length} bytes; allowed are {self._most_bytes}; send fewer inputs at a time"
            return _Discarding(error_answer(413, message, "body_too_large"), int(length))
        return None

    def _has_key(self, authorization: str) -> bool:
        if self._key is None:
            return True
        scheme, _, key = authorization.partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(key.strip().encode(), self._key)


@dataclass
class _Memory:
    """Counts the bytes of all bodies, at most `most`."""

    most: int
    held: int = 0


class _Body:
    """A body whose bytes count until `close`. `receive` raises `Refused` beyond the memory for all bodies."""

    def __init__(self, memory: _Memory, receive: Receive) -> None:
        self._memory = memory
        self._receive = receive
        self._bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        if self._memory.held + size > self._memory.most:
            most = self._memory.most // _MIB
            full = f"the bodies of all requests take {most} MiB, which is the limit; send this one later"
            raise Refused(429, full, "rate_limit_exceeded", headers={"Connection": "close"})
        self._memory.held += size
        self._bytes += size
        return message

    def close(self) -> None:
        """Release the memory after the request."""
        self._memory.held -= self._bytes


class _Discarding:
    """Answers after reading and discarding the body, since callers read no answer while they send. It does not wait for
    a body that is far too large.
    """

    def __init__(self, answer: ASGIApp, length: int) -> None:
        self._answer = answer
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = self._length <= _MOST_DISCARDED_BYTES
        with suppress(Refused):  # if the body is too slow as well
            while more:
                more = (await receive()).get("more_body", False)
        await self._answer(scope, receive, send)
