"""Ends the requests of slow or disconnected callers, so that they do not hold resources."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import uvicorn
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sentriton_gateway.answers import Refused

_CLIENT_CLOSED = 499  # nginx's status for a disconnected caller, only for the metrics
_Result = TypeVar("_Result")


async def while_connected(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of `work`, which is cancelled if the caller disconnects. The request's body must be read."""
    working = asyncio.create_task(work)
    left = asyncio.ensure_future(request.receive())  # after the body, the next message is the disconnect
    try:
        await asyncio.wait((working, left), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(_CLIENT_CLOSED, "the caller closed its connection", "client_closed")
        return working.result()
    finally:
        working.cancel()
        left.cancel()


def within(seconds: float, receive: Receive) -> Receive:
    """`receive`, which raises `Refused` if the whole body has not arrived within this time."""
    loop = asyncio.get_running_loop()
    end, whole = loop.time() + seconds, False

    async def receive_in_time() -> Message:
        nonlocal whole
        if whole:
            return await receive()  # the next message is the disconnect
        try:
            message = await asyncio.wait_for(receive(), max(0, end - loop.time()))
        except TimeoutError as error:
            raise Refused(
                408,
                f"the body did not arrive within {seconds:g} s; send fewer inputs at a time",
                "timeout",
                headers={"Connection": "close"},
            ) from error
        whole = not message.get("more_body", False)
        return message

    return receive_in_time


class PatientConnection(asyncio.Protocol):
    """A connection that closes if the head of a request does not arrive within `seconds`. It also closes if the caller
    reads nothing of its answer for as long. `given` are uvicorn's arguments of a protocol.

    It passes the transport's calls on to uvicorn's protocol, and `counting` tells it of the requests in progress. So
    uvicorn need only run a request in the context of its connection.
    """

    def __init__(self, seconds: float, given: Mapping[str, Any]) -> None:
        self._seconds = seconds
        self._http = H11Protocol(**given)
        self._loop = asyncio.get_running_loop()
        self._in_progress = 0
        self._closing: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._http.connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        token = _connection.set(self)
        try:
            self._http.data_received(data)
        finally:
            _connection.reset(token)
        self._wait_for_head()

    def eof_received(self) -> None:
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in filter(None, (self._closing, self._reading)):
            timer.cancel()
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        self._http.resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    @contextmanager
    def request(self) -> Iterator[None]:
        """While a request of the connection is in progress."""
        self._in_progress += 1
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        try:
            yield
        finally:
            self._in_progress -= 1
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        # From its first byte on: more bytes give no more time.
        if self._closing is None and not self._in_progress and not self._transport.is_closing():
            self._closing = self._loop.call_later(self._seconds, self._transport.close)

    def _wait_for_reader(self) -> None:
        self._reading = self._loop.call_later(self._seconds, self._abort, self._transport.get_write_buffer_size())

    def _abort(self, unread: int) -> None:
        if self._transport.get_write_buffer_size() < unread:
            self._wait_for_reader()
        else:
            self._transport.abort()  # closing would wait for the reader


_connection: ContextVar[PatientConnection] = ContextVar("connection")


def patient_protocol(seconds: float) -> type[asyncio.Protocol]:
    """The class of connections for uvicorn, each a `PatientConnection` of this time."""

    class Connection(PatientConnection):
        def __init__(self, **given: Any) -> None:
            super().__init__(seconds, given)

    return Connection


def counting(app: ASGIApp) -> ASGIApp:
    """`app`, which tells a connection of its requests. Raises `RuntimeError` if uvicorn hides the connection."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        connection = _connection.get(None)
        if connection is None:
            raise RuntimeError(
                f"uvicorn {uvicorn.__version__} runs a request outside the context of its connection, so slow callers "
                "would have no limit; install the version that constraints.txt names"
            )
        with connection.request():
            await app(scope, receive, send)

    return counted
