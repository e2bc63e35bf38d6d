"""Ends the requests of slow or disconnected callers, so that they do not hold resources."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.types import Message, Receive
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


def patient_protocol(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which closes connections of slow callers.

    It closes a connection if within this time the head of a request does not arrive, or the caller reads nothing of its
    answer.
    """

    class PatientProtocol(H11Protocol):
        _closing: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in filter(None, (self._closing, self._reading)):
                timer.cancel()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._wait_for_reader()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reading is not None:
                self._reading.cancel()

        def _wait_for_head(self) -> None:
            # Between an answer and the next byte, uvicorn has its own timer.
            waits = self.cycle is None or self.cycle.response_complete
            if waits and self._closing is None:
                self._closing = self.loop.call_later(seconds, self._close)
            elif not waits and self._closing is not None:
                self._closing.cancel()
                self._closing = None

        def _wait_for_reader(self) -> None:
            self._reading = self.loop.call_later(seconds, self._abort, self.transport.get_write_buffer_size())

        def _abort(self, unread: int) -> None:
            if self.transport.get_write_buffer_size() < unread:
                self._wait_for_reader()
            else:
                self.transport.abort()  # closing would wait for the reader

        def _close(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return PatientProtocol
