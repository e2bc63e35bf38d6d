"""Sends the requests of one call, as its `Course` decides, and collects their answers, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import queue
import time
from functools import partial
from typing import TYPE_CHECKING

from sentriton.call import Call
from sentriton.connection import AsyncConnection, Connection
from sentriton.course import Sending
from sentriton.deadline import LOOK_EVERY_S
from sentriton.kserve import ModelInferResponse

if TYPE_CHECKING:
    from sentriton.connection import PendingCall

_GLANCE_S = 0.25  # between two looks at whether the encoder was closed


class Dispatcher:
    """Sends the requests of one call, as many at once as its window allows."""

    def __init__(self, call: Call[Connection]) -> None:
        self._call = call
        self._outcomes: queue.SimpleQueue[tuple[Sending[Connection], PendingCall]] = queue.SimpleQueue()

    def run(self) -> None:
        """Returns when every sentence is embedded. At the first failure it cancels the requests under way."""
        call, course = self._call, self._call.course
        with call.under_way():
            while not course.done:
                call.check_open()
                course.prepare()
                if (next_sending := course.next(time.monotonic())) is not None:
                    self._send(next_sending)
                    continue
                try:
                    wait_s = min(_GLANCE_S, course.wait_s(time.monotonic()))
                    sending, pending = self._outcomes.get(timeout=wait_s)
                except queue.Empty:
                    continue
                call.settle(sending, partial(sending.endpoint.connection.result_of, pending))

    def _send(self, sending: Sending[Connection]) -> None:
        request, time_s = self._call.request(sending)
        pending = sending.endpoint.connection.start_infer(request, time_s)
        sending.endpoint.begin(sending, sending.sent)
        sending.cancel = pending.cancel

        def ended(pending: PendingCall) -> None:
            sending.endpoint.end(sending)
            self._outcomes.put((sending, pending))

        pending.add_done_callback(ended)


class AsyncDispatcher:
    """`Dispatcher` for asyncio."""

    def __init__(self, call: Call[AsyncConnection]) -> None:
        self._call = call
        self._outcomes: asyncio.Queue[tuple[Sending[AsyncConnection], asyncio.Task[ModelInferResponse]]]
        self._outcomes = asyncio.Queue()

    async def run(self) -> None:
        """As `Dispatcher.run`."""
        call, course = self._call, self._call.course
        is_long = call.is_long
        with call.under_way():
            while not course.done:
                call.check_open()
                if is_long and course.unprepared:
                    await asyncio.to_thread(course.prepare)
                else:
                    course.prepare()
                if (next_sending := course.next(time.monotonic())) is not None:
                    self._send(next_sending)
                    continue
                try:
                    wait_s = min(LOOK_EVERY_S, course.wait_s(time.monotonic()))
                    sending, task = await asyncio.wait_for(self._outcomes.get(), wait_s)
                except asyncio.TimeoutError:
                    continue
                call.check_open()
                call.settle(sending, task.result)

    def _send(self, sending: Sending[AsyncConnection]) -> None:
        request, time_s = self._call.request(sending)
        task = asyncio.create_task(sending.endpoint.connection.infer(request, time_s))
        sending.endpoint.begin(sending, sending.sent)
        sending.cancel = task.cancel

        def ended(task: asyncio.Task[ModelInferResponse]) -> None:
            sending.endpoint.end(sending)
            if not task.cancelled():
                task.exception()  # asked for, as asyncio wants it
            self._outcomes.put_nowait((sending, task))

        task.add_done_callback(ended)
