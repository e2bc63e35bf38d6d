"""Sends the joined requests of an encoder's `Joiner`, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from sentriton.call import Call
from sentriton.connection import AsyncConnection, Connection
from sentriton.course import Sending
from sentriton.dispatch import AsyncDispatcher, Came, Dispatcher, Outcome, send, send_async
from sentriton.endpoints import AnyConnection
from sentriton.joining import Joiner
from sentriton.joint import Joint, Member
from sentriton.kserve import ModelInferRequest

if TYPE_CHECKING:
    Send: TypeAlias = Callable[[Sending[AnyConnection], ModelInferRequest, float, Came[AnyConnection]], None]


class JoinedDispatcher:
    """Waits for one small call, and sends a request at the call's turn. No thread depends on another."""

    def __init__(self, call: Call[Connection]) -> None:
        self._call = call
        self._looks: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self) -> bool:
        """Returns when every sentence is embedded. False if the call needs separate requests."""
        call, joiner = self._call, self._call.joiner
        if joiner.take_idle():
            with _place_given_back(joiner):
                call.open_course()
                Dispatcher(call).run()
            return True
        with _member_of(call, partial(self._looks.put, None)) as member:
            while not member.ended:
                if not _send_one(call, member, send):
                    with suppress(queue.Empty):
                        self._looks.get(timeout=joiner.wait_s(member, time.monotonic()))
        return call.take(member)


class AsyncJoinedDispatcher:
    def __init__(self, call: Call[AsyncConnection]) -> None:
        self._call = call
        self._look = asyncio.Event()

    async def run(self) -> bool:
        call, joiner, look = self._call, self._call.joiner, self._look
        loop = asyncio.get_running_loop()
        with _member_of(call, look.set) as member:
            # Other ready tasks may join.
            await asyncio.sleep(0)
            idle = joiner.take_idle(member)
            while not idle and not member.ended:
                if not _send_one(call, member, send_async):
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


@contextmanager
def _place_given_back(joiner: Joiner[AnyConnection]) -> Iterator[None]:
    try:
        yield
    finally:
        joiner.give_back(time.monotonic())


def _send_one(call: Call[AnyConnection], member: Member[AnyConnection], send: Send[AnyConnection]) -> bool:
    """Send a request of waiting calls or a retry, if one may leave now. False otherwise."""
    call.check_open()
    if (joint := call.joiner.gather(time.monotonic())) is not None:
        with _kept_on_failure(call, joint):
            joint.tokenize()
            if (sending := call.joiner.depart(joint, time.monotonic())) is not None:
                _send_joint(call, joint, sending, send)
    elif (again := call.joiner.next(member, time.monotonic())) is not None:
        with _kept_on_failure(call, again[0]):
            _send_joint(call, *again, send)
    else:
        return False
    return True


def _send_joint(
    call: Call[AnyConnection], joint: Joint[AnyConnection], sending: Sending[AnyConnection], send: Send[AnyConnection]
) -> None:
    def came(sending: Sending[AnyConnection], outcome: Outcome) -> None:
        with _kept_on_failure(call, joint), suppress(asyncio.CancelledError):
            call.joiner.settle(joint, sending, outcome, time.monotonic())

    send(sending, *joint.request(sending, call.priority), came)
    if not joint.awaits(sending):  # its calls have left meanwhile
        sending.cancel()


@contextmanager
def _member_of(call: Call[AnyConnection], wake: Callable[[], object]) -> Iterator[Member[AnyConnection]]:
    """The call as a member while it waits. Reports a closed encoder."""
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
    """After a failure in the block, no call waits forever. Interrupts are raised again."""
    try:
        yield
    except BaseException as error:
        call.joiner.broke_off(joint, error, time.monotonic())
        if not isinstance(error, Exception):
            raise
