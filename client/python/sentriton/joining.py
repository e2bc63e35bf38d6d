"""Joins small calls of one encoder that wait at the same time. It uses no network and no clock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic

from sentriton.course import Course, Sending
from sentriton.deadline import LOOK_EVERY_S
from sentriton.endpoints import AnyConnection, Endpoints
from sentriton.errors import ContractMismatch, InvalidInput, SentritonError, ServerError
from sentriton.joint import Joint, Load, Member, SharedDeadline, wrong_answer
from sentriton.kserve import ModelInferResponse
from sentriton.pacing import MIN_REQUESTS, RetryBudget, Window
from sentriton.requests import TOKENS_PER_REQUEST, RequestRows

SMALL = 8  # sentences; larger calls fill requests by themselves
LONG = 1 << 16  # characters; tokenizing more would block an event loop
_LOOK_AGAIN_S = 0.1  # for a retry's place


class Joiner(Generic[AnyConnection]):
    """The small calls of one encoder. Methods are thread-safe, and none blocks.

    A call enters, and leaves in the end. Meanwhile its caller sends the requests of `gather` and `depart`, or of
    `next`. It is woken when its call has ended and when it may send.
    """

    def __init__(self, endpoints: Endpoints[AnyConnection], budget: RetryBudget, max_in_flight: int) -> None:
        several = any(endpoint.address.startswith("dns:") for endpoint in endpoints.all)  # servers of one name
        limit = max_in_flight if several else min(MIN_REQUESTS * len(endpoints.all), max_in_flight)
        self._window = Window(limit=limit, most=limit)
        self._endpoints = endpoints
        self._budget = budget
        self._in_flight = 0
        self._members: set[Member[AnyConnection]] = set()
        self._waiting: deque[Member[AnyConnection]] = deque()
        self._pausing: list[Joint[AnyConnection]] = []  # before their retry
        self._to_wake: list[Member[AnyConnection]] = []
        self._lock = threading.Lock()

    def enter(self, member: Member[AnyConnection]) -> None:
        with self._lock:
            self._members.add(member)
            self._waiting.append(member)

    def take_idle(self, member: Member[AnyConnection] | None = None) -> bool:
        """Whether no request is in flight and only `member` waits. It then has a place until `give_back`, also between
        its retries, since a separate request costs less.
        """
        with self._lock:
            others = self._in_flight or self._pausing or any(other is not member for other in self._waiting)
            if others or self._window.limit == 1:
                return False
            self._waiting.clear()
            self._in_flight = 1
            return True

    def give_back(self, now: float) -> None:
        with self._changing(now):
            self._in_flight -= 1

    def leave(self, member: Member[AnyConnection], now: float) -> None:
        """End a call, or give it up. Its request is cancelled without other calls."""
        with self._changing(now):
            self._members.discard(member)
            joint, member.joint = member.joint, None
            if joint is not None:
                joint.members.remove(member)
                if joint.members:
                    self._to_wake.append(joint.members[0])
                else:
                    self._abandon(joint)
            elif not member.ended and member in self._waiting:
                self._waiting.remove(member)

    def gather(self, now: float) -> Joint[AnyConnection] | None:
        """The next request, with all calls that may join it; None if none may leave now."""
        if not self._waiting:  # the usual case
            return None
        with self._changing(now):
            if self._in_flight >= self._window.limit:
                return None
            first = next((member for member in self._waiting if not member.deadline.over(now)), None)
            if first is None:
                return None
            self._waiting.remove(first)
            members = [first] if first.alone else self._with_others(first, now)
            joint = Joint(members)
            for member in members:
                member.joint = joint
            self._in_flight += 1
            return joint

    def depart(self, joint: Joint[AnyConnection], now: float) -> Sending[AnyConnection] | None:
        """The sending of a tokenized request, or None without calls. Calls that do not fit wait for the next."""
        with self._changing(now):
            self._fit(joint)
            if not joint.members:
                self._release(joint)
                return None
            load = Load.of(list(joint.members))
            joint.course = Course(
                iter([RequestRows([0], load.tokens)]),
                total=1,
                deadline=SharedDeadline(joint.members) if len(joint.members) > 1 else joint.members[0].deadline,
                window=self._window,
                budget=self._budget,
                endpoints=self._endpoints,
            )
            joint.course.prepare()
            sending = joint.course.next(now)
            assert sending is not None
            joint.loads[sending] = load
            return sending

    def next(
        self, member: Member[AnyConnection], now: float
    ) -> tuple[Joint[AnyConnection], Sending[AnyConnection]] | None:
        """The call's retry or second request to send now. Raises at the call's deadline."""
        member.deadline.looked(now)
        joint = member.joint
        if not member.deadline.over(now) and (joint is None or self._is_simple(joint)):
            return None
        with self._changing(now):
            joint = member.joint
            if member.deadline.over(now) and not member.ended:
                raise self._overdue(member)
            if joint is None or joint.course is None or joint.members[0] is not member:
                return None
            if not joint.in_flight and self._in_flight >= self._window.limit:
                return None
            sending = joint.course.next(now)
            if sending is None:
                return None
            joint.loads[sending] = Load.of(list(joint.members))
            if not joint.in_flight:
                self._pausing.remove(joint)
                self._in_flight += 1
                joint.in_flight = True
            return joint, sending

    def wait_s(self, member: Member[AnyConnection], now: float) -> float:
        """The time of a call until its next look, unless woken."""
        wait_s = max(0.0, min(LOOK_EVERY_S, member.deadline.time - now))
        joint = member.joint
        if joint is None or self._is_simple(joint):
            return wait_s
        with self._lock:
            joint = member.joint
            if joint is None or joint.course is None or joint.members[0] is not member:
                return wait_s
            if not joint.in_flight and joint.course.due(now):
                return min(wait_s, _LOOK_AGAIN_S)
            return min(wait_s, joint.course.wait_s(now))

    def settle(
        self,
        joint: Joint[AnyConnection],
        sending: Sending[AnyConnection],
        result: Callable[[], ModelInferResponse],
        now: float,
    ) -> None:
        if not joint.awaits(sending):
            return
        load, address = joint.loads[sending], sending.endpoint.address
        try:
            response = result()
        except SentritonError as error:
            self._failed(joint, sending, error, now)
            return
        try:
            embeddings = load.read(response)
        except ServerError as error:
            with self._changing(now):
                self._end(joint, wrong_answer(error, address))
            return
        with self._changing(now):
            if joint.course is not None and joint.course.awaits(sending):
                joint.course.answered(sending, now)
                load.deliver(embeddings, address)
                self._dismiss(joint)

    def broke_off(self, joint: Joint[AnyConnection], error: BaseException, now: float) -> None:
        """After a request could not be sent, its calls wait again, alone if one may be the cause."""
        with self._changing(now):
            if not isinstance(error, Exception):
                self._dissolve(joint, alone=False)
            elif len(joint.members) > 1:
                self._dissolve(joint, alone=True)
            elif isinstance(error, SentritonError):
                self._end(joint, error)
            else:
                failure = SentritonError(f"a request could not be sent: {type(error).__name__}: {error}")
                failure.__cause__ = error
                self._end(joint, failure)

    def wake_all(self) -> None:
        with self._lock:
            members = list(self._members)
        for member in members:
            member.wake()

    def _is_simple(self, joint: Joint[AnyConnection]) -> bool:
        return joint.in_flight and len(self._endpoints.all) == 1

    def _with_others(self, first: Member[AnyConnection], now: float) -> list[Member[AnyConnection]]:
        """`first`, and the waiting calls that may join it, in the order of arrival."""
        members, rows, length = [first], len(first.texts), first.length
        left = deque[Member[AnyConnection]]()
        for member in self._waiting:
            fits = rows + len(member.texts) <= first.max_rows and length + member.length <= LONG
            if fits and member.joins(first, now):
                members.append(member)
                rows += len(member.texts)
                length += member.length
            else:
                left.append(member)
        self._waiting = left
        return members

    def _fit(self, joint: Joint[AnyConnection]) -> None:
        """Keep the calls whose tokens fit into one request. The others wait, before later ones."""
        tokens = 0
        kept: list[Member[AnyConnection]] = []
        left: list[Member[AnyConnection]] = []
        for member in joint.members:
            member.check_tokens()
            if member.ended:
                member.joint = None
                self._to_wake.append(member)
            elif kept and tokens + member.size > TOKENS_PER_REQUEST:
                left.append(member)
            else:
                kept.append(member)
                tokens += member.size
        joint.members[:] = kept
        self._wait_again(left)

    def _failed(
        self, joint: Joint[AnyConnection], sending: Sending[AnyConnection], error: SentritonError, now: float
    ) -> None:
        with self._changing(now):
            course = joint.course
            if course is None or not course.awaits(sending):
                return
            if len(joint.loads[sending].members) > 1 and _may_be_one_s_fault(error):
                self._dissolve(joint, alone=True)
                return
            try:
                course.failed(sending, error, now)
            except SentritonError as final:
                self._end(joint, final, late=final is not error)
                return
            if not course.in_flight:
                self._release(joint)
                self._pausing.append(joint)
                self._to_wake.append(joint.members[0])

    def _end(self, joint: Joint[AnyConnection], error: SentritonError, *, late: bool = False) -> None:
        """Fail every call of a request, if `late` with the error of its own deadline."""
        for member in joint.members:
            member.error = member.deadline.exceeded(self._endpoints.url) if late else error
        self._dismiss(joint)

    def _dismiss(self, joint: Joint[AnyConnection]) -> None:
        for member in joint.members:
            member.joint = None
        self._to_wake += joint.members
        self._abandon(joint)

    def _dissolve(self, joint: Joint[AnyConnection], *, alone: bool) -> None:
        """Let the calls of a request wait again, before all others."""
        for member in joint.members:
            member.alone = member.alone or alone
        self._wait_again(joint.members)
        self._abandon(joint)

    def _wait_again(self, members: list[Member[AnyConnection]]) -> None:
        for member in members:
            member.joint = None
        self._waiting.extendleft(reversed(members))

    def _abandon(self, joint: Joint[AnyConnection]) -> None:
        joint.members.clear()
        self._release(joint)
        if joint in self._pausing:
            self._pausing.remove(joint)
        if joint.course is not None:
            joint.course.cancel()

    def _release(self, joint: Joint[AnyConnection]) -> None:
        if joint.in_flight:
            joint.in_flight = False
            self._in_flight -= 1

    def _overdue(self, member: Member[AnyConnection]) -> SentritonError:
        """The error of a call that times out: the last error of its request, if that waits for a retry."""
        joint = member.joint
        if joint in self._pausing and joint.course is not None and joint.course.last_failure is not None:
            return joint.course.last_failure
        return member.deadline.exceeded(self._endpoints.url)

    @contextmanager
    def _changing(self, now: float) -> Iterator[None]:
        """After a change and without the lock, wakes the ended calls and one that may send."""
        with self._lock:
            try:
                yield
            finally:
                if self._in_flight < self._window.limit:
                    due = [joint for joint in self._pausing if joint.course is not None and joint.course.due(now)]
                    if due or self._waiting:
                        self._to_wake.append(due[0].members[0] if due else self._waiting[0])
                woken, self._to_wake = self._to_wake, []
        for member in woken:
            member.wake()


def _may_be_one_s_fault(error: SentritonError) -> bool:
    return isinstance(error, (InvalidInput, ServerError)) and not isinstance(error, ContractMismatch)
