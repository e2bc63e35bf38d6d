"""The course of an `encode` call: next request, retries, end. It uses no network and no clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic

from sentriton.deadline import MARGIN_S, Deadline
from sentriton.endpoints import AnyConnection, Endpoint, Endpoints
from sentriton.errors import DeadlineExceeded, Overloaded, SentritonError, ServerUnavailable, own_error, progress_words
from sentriton.pacing import Backoff, RetryBudget, Window
from sentriton.requests import RequestRows

_LOOK_AGAIN_S = 0.1  # for another server


@dataclass(eq=False)
class Attempt(Generic[AnyConnection]):
    """The `number`-th attempt to embed some rows, at one server, or at two if the first is silent."""

    rows: RequestRows
    number: int = 1
    sendings: list[Sending[AnyConnection]] = field(default_factory=list)
    awaited_since: float = 0.0


@dataclass(eq=False)
class Sending(Generic[AnyConnection]):
    """An attempt's request to one server, with the deadline `until`. The client sets `cancel`."""

    attempt: Attempt[AnyConnection]
    endpoint: Endpoint[AnyConnection]
    sent: float
    until: float
    cancel: Callable[[], object] = lambda: None


@dataclass(order=True)
class _Waiting(Generic[AnyConnection]):
    due: float
    attempt: Attempt[AnyConnection] = field(compare=False)


class Course(Generic[AnyConnection]):
    """Provides requests while the window is open, and takes their outcomes. Times are seconds of any steady clock."""

    def __init__(
        self,
        plan: Iterator[RequestRows],
        *,
        total: int,
        deadline: Deadline,
        window: Window,
        budget: RetryBudget,
        endpoints: Endpoints[AnyConnection],
        backoff: Backoff | None = None,
    ) -> None:
        self.total = total
        self.finished = 0
        self.deadline = deadline
        self._plan = plan
        self.window = window
        self._budget = budget
        self._endpoints = endpoints
        self._backoff = backoff or Backoff()
        self._prepared: RequestRows | None = None
        self._exhausted = False
        self._waiting: list[_Waiting[AnyConnection]] = []
        self.last_failure: SentritonError | None = None
        self._under_way: dict[Attempt[AnyConnection], None] = {}  # in the order of sending

    @property
    def done(self) -> bool:
        return self.finished == self.total

    @property
    def unprepared(self) -> bool:
        return self._prepared is None and not self._exhausted

    @property
    def in_flight(self) -> bool:
        return bool(self._under_way)

    def due(self, now: float) -> bool:
        return bool(self._waiting) and self._waiting[0].due <= now

    def prepare(self) -> None:
        """Make the next rows ready to send; this tokenizes. Call it before `next`."""
        if self.unprepared:
            self._prepared = next(self._plan, None)
            self._exhausted = self._prepared is None

    def next(self, now: float) -> Sending[AnyConnection] | None:
        """The request to send now, or None if the window is full or no rows are left. At the deadline it raises the
        last error of the rows that wait for a retry, or `DeadlineExceeded`.
        """
        self.deadline.looked(now)
        if self.deadline.over(now):
            raise self._with_progress(self.last_failure if self._waiting and self.last_failure else self._exceeded())
        if len(self._under_way) < self.window.limit:
            if self.due(now):
                return self._send(heapq.heappop(self._waiting).attempt, self._endpoints.choose(now), now)
            if self._prepared is not None:
                rows, self._prepared = self._prepared, None
                return self._send(Attempt(rows), self._endpoints.choose(now), now)
        return self._hedge(now)

    def awaits(self, sending: Sending[AnyConnection]) -> bool:
        """Whether the outcome of a request matters: no other server answered first."""
        return sending in sending.attempt.sendings

    def answered(self, sending: Sending[AnyConnection], now: float) -> None:
        """Record its rows as embedded, and cancel another request for them."""
        attempt = sending.attempt
        for other in attempt.sendings:
            if other is not sending:
                other.cancel()
                if other.endpoint.silent_since(other.sent, now, self._endpoints.patience_s):
                    other.endpoint.fell_silent(now)
        attempt.sendings.clear()
        del self._under_way[attempt]
        self.finished += len(attempt.rows.indices)
        self.deadline.moved(now)
        self.window.answered(attempt.rows.tokens.input_ids.size, now)
        self._endpoints.answered(sending.endpoint, now - sending.sent, now)
        self._budget.answered()

    def failed(self, sending: Sending[AnyConnection], error: SentritonError, now: float) -> None:
        """Schedule a retry of its rows, unless another server has them. Raises `error` with the call's progress if a
        retry cannot help, without time left, or with an empty retry budget.
        """
        attempt = sending.attempt
        attempt.sendings.remove(sending)
        # Other answers may have moved the call's deadline.
        too_late = isinstance(error, DeadlineExceeded) and now >= sending.until - MARGIN_S
        if not (too_late or isinstance(error, (Overloaded, ServerUnavailable))):
            raise self._with_progress(error)
        if isinstance(error, ServerUnavailable):
            sending.endpoint.rest(now)
        if too_late and sending.endpoint.silent_since(sending.sent, now, self._endpoints.patience_s):
            sending.endpoint.fell_silent(now)
        if isinstance(error, Overloaded):
            self.window.overloaded()
        if attempt.sendings:
            attempt.awaited_since = now
            return
        del self._under_way[attempt]
        if too_late and self.deadline.over(now + MARGIN_S):
            raise self._with_progress(self._exceeded())
        due = now + self._backoff.delay_s(attempt.number)
        ends = self.deadline.end if self._under_way else self.deadline.time
        if due >= ends or (not isinstance(error, ServerUnavailable) and not self._budget.take()):
            raise self._with_progress(error)
        self.last_failure = error
        heapq.heappush(self._waiting, _Waiting(due, Attempt(attempt.rows, attempt.number + 1)))

    def wait_s(self, now: float) -> float:
        """Seconds to wait for outcomes before calling `next`."""
        until = self.deadline.time
        if self._waiting and len(self._under_way) < self.window.limit:
            until = min(until, self._waiting[0].due)
        if len(self._endpoints.all) > 1:
            alone = [attempt.awaited_since for attempt in self._under_way if len(attempt.sendings) == 1]
            until = min([until, *(max(since + self._endpoints.patience_s, now + _LOOK_AGAIN_S) for since in alone)])
        return max(0.0, until - now)

    def cancel(self) -> None:
        for attempt in self._under_way:
            for sending in attempt.sendings:
                sending.cancel()
            attempt.sendings.clear()
        self._under_way.clear()

    def _send(
        self, attempt: Attempt[AnyConnection], endpoint: Endpoint[AnyConnection], now: float
    ) -> Sending[AnyConnection]:
        sending = Sending(attempt, endpoint, now, now + self.deadline.left_s(now))
        attempt.sendings.append(sending)
        attempt.awaited_since = now
        self._under_way[attempt] = None
        return sending

    def _hedge(self, now: float) -> Sending[AnyConnection] | None:
        """A second request for rows of a silent server, to one that answers."""
        if len(self._endpoints.all) == 1:
            return None
        late = now - self._endpoints.patience_s
        for attempt in self._under_way:
            if len(attempt.sendings) == 1 and attempt.awaited_since <= late:
                other = self._endpoints.another(attempt.sendings[0].endpoint, now)
                if other is not None and self._budget.take():
                    return self._send(attempt, other, now)
        return None

    def _exceeded(self) -> DeadlineExceeded:
        return self.deadline.exceeded(self._endpoints.url)

    def _with_progress(self, error: SentritonError) -> SentritonError:
        progress = progress_words(self.finished, self.total)
        return own_error(error, progress) if progress else error
