"""Sends the requests of a call's `Course` and collects the answers, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from sentriton.call import Call
from sentriton.connection import AsyncConnection, Connection
from sentriton.course import Sending
from sentriton.deadline import LOOK_EVERY_S
from sentriton.endpoints import AnyConnection
from sentriton.kserve import ModelInferRequest, ModelInferResponse

if TYPE_CHECKING:
    from sentriton.connection import PendingCall

# Returns the response of an ended request, or raises.
Outcome: TypeAlias = Callable[[], ModelInferResponse]
Came: TypeAlias = Callable[[Sending[AnyConnection], Outcome], object]
_GLANCE_S = 0.25  # between two checks for a closed encoder


class Dispatcher:
    """Sends the requests of one call within its window."""

    def __init__(self, call: Call[Connection]) -> None:
        self._call = call
        self._outcomes: queue.SimpleQueue[tuple[Sending[Connection], Outcome]] = queue.SimpleQueue()

    def run(self) -> None:
        """Returns when every sentence is embedded. At the first failure it cancels the requests in progress."""
        call, course = self._call, self._call.course
        with call.under_way():
            while not course.done:
                call.check_open()
                course.prepare()
                if (due := course.next(time.monotonic())) is not None:
                    send(due, *call.request(due), lambda *came: self._outcomes.put(came))
                    continue
                try:
                    wait_s = min(_GLANCE_S, course.wait_s(time.monotonic()))
                    sending, outcome = self._outcomes.get(timeout=wait_s)
                except queue.Empty:
                    continue
                call.check_open()
                call.settle(sending, outcome)


class AsyncDispatcher:
    def __init__(self, call: Call[AsyncConnection]) -> None:
        self._call = call
        # None: time to look. `wait_for` may lose a cancellation before Python 3.12.
        self._outcomes: asyncio.Queue[tuple[Sending[AsyncConnection], Outcome] | None] = asyncio.Queue()

    async def run(self) -> None:
        call, course = self._call, self._call.course
        loop, is_long = asyncio.get_running_loop(), call.is_long
        with call.under_way():
            while not course.done:
                call.check_open()
                if is_long and course.unprepared:
                    await asyncio.to_thread(course.prepare)
                else:
                    course.prepare()
                if (due := course.next(time.monotonic())) is not None:
                    send_async(due, *call.request(due), lambda *came: self._outcomes.put_nowait(came))
                    continue
                wait_s = min(LOOK_EVERY_S, course.wait_s(time.monotonic()))
                timer = loop.call_later(wait_s, self._outcomes.put_nowait, None)
                try:
                    came = await self._outcomes.get()
                finally:
                    timer.cancel()
                if came is not None:
                    call.check_open()
                    call.settle(*came)


def send(sending: Sending[Connection], request: ModelInferRequest, time_s: float, came: Came[Connection]) -> None:
    """Send a request with the timeout `time_s`. Any thread may call `came` with the outcome."""
    connection = sending.endpoint.connection
    pending = connection.start_infer(request, time_s)
    sending.endpoint.begin(sending, sending.sent)
    sending.cancel = partial(_cancel, connection, pending)

    def ended(pending: PendingCall) -> None:
        sending.endpoint.end(sending)
        came(sending, partial(connection.result_of, pending))

    pending.add_done_callback(ended)


def send_async(
    sending: Sending[AsyncConnection], request: ModelInferRequest, time_s: float, came: Came[AsyncConnection]
) -> None:
    connection = sending.endpoint.connection
    task = asyncio.create_task(connection.infer(request, time_s))
    sending.endpoint.begin(sending, sending.sent)
    sending.cancel = partial(_cancel, connection, task)

    def ended(task: asyncio.Task[ModelInferResponse]) -> None:
        sending.endpoint.end(sending)
        if not task.cancelled():
            task.exception()  # otherwise asyncio warns
        came(sending, task.result)

    task.add_done_callback(ended)


def _cancel(connection: Connection | AsyncConnection, request: Any) -> None:
    if not connection.closing:
        request.cancel()
