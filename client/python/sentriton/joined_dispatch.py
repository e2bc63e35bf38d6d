"""Sends the requests that small calls of one encoder share, as its `Joiner` decides, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from sentriton.call import Call
from sentriton.connection import AsyncConnection, Connection
from sentriton.course import Sending
from sentriton.dispatch import AsyncDispatcher, Dispatcher
from sentriton.endpoints import AnyConnection
from sentriton.joining import Joiner
from sentriton.joint import Joint, Member
from sentriton.kserve import ModelInferResponse

if TYPE_CHECKING:
    from sentriton.connection import PendingCall


class JoinedDispatcher:
    """Waits for one small call, and sends a request when it is this call's turn. No thread depends on another."""

    def __init__(self, call: Call[Connection]) -> None:
        self._call = call
        self._joiner = call.joiner
        self._looks: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self) -> bool:
        """Returns when every sentence is embedded; false if the call needs requests of its own."""
        call, joiner = self._call, self._joiner
        if joiner.take_idle():
            with _place_given_back(joiner):
                call.open_course()
                Dispatcher(call).run()
            return True
        with _member_of(call, partial(self._looks.put, None)) as member:
            while not member.ended:
                if not _send_one(call, member, self._send):
                    with suppress(queue.Empty):
                        self._looks.get(timeout=joiner.wait_s(member, time.monotonic()))
        return call.take(member)

    def _send(self, joint: Joint[Connection], sending: Sending[Connection]) -> None:
        request, time_s = joint.request(sending, self._call.priority)
        connection = sending.endpoint.connection
        pending = connection.start_infer(request, time_s)
        sending.endpoint.begin(sending, sending.sent)
        sending.cancel = pending.cancel

        def ended(pending: PendingCall) -> None:
            sending.endpoint.end(sending)
            with _kept_on_failure(self._call, joint):
                self._joiner.settle(joint, sending, partial(connection.result_of, pending), time.monotonic())

        pending.add_done_callback(ended)
        if not joint.awaits(sending):  # its calls have gone meanwhile
            pending.cancel()


class AsyncJoinedDispatcher:
    """`JoinedDispatcher` for asyncio."""

    def __init__(self, call: Call[AsyncConnection]) -> None:
        self._call = call
        self._joiner = call.joiner
        self._look = asyncio.Event()

    async def run(self) -> bool:
        """As `JoinedDispatcher.run`."""
        call, joiner, look = self._call, self._joiner, self._look
        loop = asyncio.get_running_loop()
        with _member_of(call, look.set) as member:
            # Tasks that are ready to run as well may join.
            await asyncio.sleep(0)
            idle = joiner.take_idle(member)
            while not idle and not member.ended:
                if not _send_one(call, member, self._send):
                    timer = loop.call_later(joiner.wait_s(member, time.monotonic()), look.set)
                    await look.wait()
                    look.clear()
                    timer.cancel()
        if idle:
            with _place_given_back(joiner):
                call.open_course()
                await AsyncDispatcher(call).run()
            return True
        return call.take(member)

    def _send(self, joint: Joint[AsyncConnection], sending: Sending[AsyncConnection]) -> None:
        request, time_s = joint.request(sending, self._call.priority)
        task = asyncio.create_task(sending.endpoint.connection.infer(request, time_s))
        sending.endpoint.begin(sending, sending.sent)
        sending.cancel = task.cancel

        def ended(task: asyncio.Task[ModelInferResponse]) -> None:
            sending.endpoint.end(sending)
            if task.cancelled():
                return
            task.exception()  # asked for, as asyncio wants it
            with _kept_on_failure(self._call, joint):
                self._joiner.settle(joint, sending, task.result, time.monotonic())

        task.add_done_callback(ended)


@contextmanager
def _place_given_back(joiner: Joiner[AnyConnection]) -> Iterator[None]:
    try:
        yield
    finally:
        joiner.give_back(time.monotonic())


def _send_one(
    call: Call[AnyConnection],
    member: Member[AnyConnection],
    send: Callable[[Joint[AnyConnection], Sending[AnyConnection]], None],
) -> bool:
    """Send a request if one may go now: of calls that wait, or after a failure. False if none may."""
    call.check_open()
    if (joint := call.joiner.gather(time.monotonic())) is not None:
        with _kept_on_failure(call, joint):
            joint.tokenize()
            if (sending := call.joiner.depart(joint, time.monotonic())) is not None:
                send(joint, sending)
    elif (again := call.joiner.next(member, time.monotonic())) is not None:
        with _kept_on_failure(call, again[0]):
            send(*again)
    else:
        return False
    return True


@contextmanager
def _member_of(call: Call[AnyConnection], wake: Callable[[], object]) -> Iterator[Member[AnyConnection]]:
    """The call as a member while it waits. Its error says if the encoder was closed."""
    member = call.member(wake)
    call.joiner.enter(member)
    try:
        yield member
    except Exception as error:
        call.check_open(error)
        raise
    finally:
        call.joiner.leave(member, time.monotonic())


@contextmanager
def _kept_on_failure(call: Call[AnyConnection], joint: Joint[AnyConnection]) -> Iterator[None]:
    """After a failure in the block no call waits for ever. Interrupts are raised again."""
    try:
        yield
    except Exception as error:
        call.joiner.broke_off(joint, error, time.monotonic())
    except BaseException as error:
        call.joiner.broke_off(joint, error, time.monotonic())
        raise
