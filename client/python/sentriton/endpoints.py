"""Chooses the server of the next request: the least busy one that answers."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sentriton.deadline import MARGIN_S, Deadline
from sentriton.errors import DeadlineExceeded, SentritonError, ServerUnavailable

AnyConnection = TypeVar("AnyConnection")
_REST_S = 1.0  # pause before an unavailable server is retried
_MAX_REST_S = 30.0  # for a silent server, since each probe delays a request by the patience
_MIN_PATIENCE_S = 2.0
_PATIENCE_FACTOR = 4.0  # of the slowest recent answer
_FADING_FACTOR = 0.95  # of the slowest answer, per answer


@dataclass(eq=False)
class Endpoint(Generic[AnyConnection]):
    address: str
    connection: AnyConnection
    resting_until: float = 0.0
    silences: int = 0  # in a row, since its last answer
    _answered: float = -math.inf
    _under_way: dict[object, float] = field(default_factory=dict)  # requests by when they were sent, oldest first
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def in_flight(self) -> int:
        return len(self._under_way)

    def begin(self, request: object, now: float) -> None:
        with self._lock:
            self._under_way[request] = now

    def end(self, request: object) -> None:
        with self._lock:
            self._under_way.pop(request, None)

    def answered(self, now: float) -> None:
        self._answered, self.silences, self.resting_until = now, 0, 0.0

    def rest(self, now: float) -> None:
        """Pause it after a failure, so that others are tried first."""
        self.resting_until = max(self.resting_until, now + _REST_S)

    def fell_silent(self, now: float) -> None:
        """Pause it, because another server answered its request first. Each pause in a row is longer."""
        if self.resting_until <= now:
            self.silences += 1
            self.resting_until = now + min(_MAX_REST_S, _REST_S * 2.0 ** (self.silences - 1))

    def silent_s(self, now: float) -> float:
        """The time in which its requests got no answer; 0 without requests."""
        with self._lock:
            oldest = next(iter(self._under_way.values()), now)
        return now - max(oldest, min(self._answered, now))

    def silent_since(self, sent: float, now: float, patience_s: float) -> bool:
        """Whether it answered nothing for `patience_s`, with a request in progress since `sent`."""
        return now - max(sent, self._answered) >= patience_s


class Inquiry(Generic[AnyConnection]):
    """Asks the servers in turn for the manifest. A silent one gets another turn with more time."""

    def __init__(self, endpoints: Endpoints[AnyConnection], deadline: Deadline) -> None:
        self._turns = [(endpoint, _MIN_PATIENCE_S) for endpoint in endpoints.all]
        self._url = endpoints.url
        self._deadline = deadline
        self._until: float | None = None  # of the last turn
        self.failure: SentritonError = deadline.exceeded(self._url)

    def turn(self, now: float) -> tuple[Endpoint[AnyConnection], float] | None:
        """The next server and its time in seconds; None at the end."""
        left_s = self._deadline.left_s(now)
        if not self._turns:
            return None
        if self._deadline.over(now if self._until is None else now + MARGIN_S):
            self.failure = self._deadline.exceeded(self._url)
            return None
        endpoint, patience_s = self._turns[0]
        time_s = left_s if len(self._turns) == 1 else min(patience_s, left_s)
        self._until = now + time_s
        return endpoint, time_s

    def failed(self, error: SentritonError, now: float) -> None:
        assert self._until is not None
        endpoint, patience_s = self._turns.pop(0)
        self.failure = error
        if isinstance(error, ServerUnavailable):
            endpoint.rest(now)
        if isinstance(error, DeadlineExceeded) and now >= self._until - MARGIN_S:
            endpoint.fell_silent(now)
            self._turns.append((endpoint, 2 * patience_s))


class Endpoints(Generic[AnyConnection]):
    def __init__(self, endpoints: Sequence[Endpoint[AnyConnection]]) -> None:
        self.all = tuple(endpoints)
        self._turn = 0
        self._slowest_s = 0.0

    @property
    def url(self) -> str:
        return ",".join(endpoint.address for endpoint in self.all)

    @property
    def patience_s(self) -> float:
        """The time for an answer, before another server gets the request as well."""
        return max(_MIN_PATIENCE_S, _PATIENCE_FACTOR * self._slowest_s)

    def answered(self, endpoint: Endpoint[AnyConnection], took_s: float, now: float) -> None:
        self._slowest_s = max(took_s, _FADING_FACTOR * self._slowest_s)
        endpoint.answered(now)

    def choose(self, now: float) -> Endpoint[AnyConnection]:
        """The least busy server that answers, in turn among equals, else the one whose pause ends first. A silent one
        gets one request at a time until it answers.
        """
        turn = self._in_turn()
        awake = [endpoint for endpoint in turn if self._answers(endpoint, now)]
        if not awake:
            return min(turn, key=lambda endpoint: endpoint.resting_until)
        return min(awake, key=lambda endpoint: endpoint.in_flight)

    def another(self, first: Endpoint[AnyConnection], now: float) -> Endpoint[AnyConnection] | None:
        """The least busy other server, silent for less than half of the patience, or None."""
        patience_s = self.patience_s / 2
        others = [
            endpoint
            for endpoint in self._in_turn()
            if endpoint is not first and self._answers(endpoint, now) and endpoint.silent_s(now) < patience_s
        ]
        return min(others, key=lambda endpoint: endpoint.in_flight, default=None)

    def _in_turn(self) -> list[Endpoint[AnyConnection]]:
        self._turn += 1
        start = self._turn % len(self.all)
        return [*self.all[start:], *self.all[:start]]

    def _answers(self, endpoint: Endpoint[AnyConnection], now: float) -> bool:
        if endpoint.resting_until > now or (endpoint.silences and endpoint.in_flight):
            return False
        return endpoint.silent_s(now) < self.patience_s
