"""The course of one `encode` call: what to send next, what to send again, when to give up. No network and no clock of
its own, so that the sync and the asyncio client share it and tests can walk through it step by step.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from sentriton.errors import DeadlineExceeded, Overloaded, SentritonError, ServerUnavailable
from sentriton.pacing import Backoff, RetryBudget, Window
from sentriton.requests import Rows


@dataclass(eq=False)
class Attempt:
    """Some rows on their way to a server, for the `number`-th time."""

    rows: Rows
    number: int = 1


@dataclass(order=True)
class _Waiting:
    due: float
    order: int
    attempt: Attempt = field(compare=False)


class Dispatcher:
    """Hands out attempts while the window is open, and takes their outcomes. Times are seconds of any steady clock."""

    def __init__(
        self,
        plan: Iterator[Rows],
        *,
        total: int,
        deadline: float,
        window: Window,
        budget: RetryBudget,
        backoff: Backoff | None = None,
    ) -> None:
        self.total = total
        self.finished = 0
        self.deadline = deadline
        self._plan = plan
        self.window = window
        self._budget = budget
        self._backoff = backoff or Backoff()
        self._prepared: Rows | None = None
        self._exhausted = False
        self._waiting: list[_Waiting] = []
        self._last_failure: SentritonError | None = None
        self._order = 0
        self._in_flight = 0

    @property
    def done(self) -> bool:
        """Whether every sentence is embedded."""
        return self.finished == self.total

    @property
    def unprepared(self) -> bool:
        """Whether `prepare` has something to do."""
        return self._prepared is None and not self._exhausted

    def prepare(self) -> None:
        """Make the next rows ready to send; this tokenizes. Call it before `next`, and while answers are awaited."""
        if self.unprepared:
            self._prepared = next(self._plan, None)
            self._exhausted = self._prepared is None

    def next(self, now: float) -> Attempt | None:
        """What to send now; None when nothing may or can be sent. When the time is over it raises `DeadlineExceeded`,
        or what the rows that wait to be sent again met last.
        """
        if now >= self.deadline:
            if self._waiting and self._last_failure is not None:
                raise self._with_progress(self._last_failure)
            raise DeadlineExceeded(f"the time for the call is over{self.progress}")
        if self._in_flight >= self.window.limit:
            return None
        if self._waiting and self._waiting[0].due <= now:
            attempt = heapq.heappop(self._waiting).attempt
        elif self._prepared is not None:
            attempt, self._prepared = Attempt(self._prepared), None
        else:
            return None
        self._in_flight += 1
        return attempt

    def answered(self, attempt: Attempt, now: float) -> None:
        """Its rows are embedded."""
        self._in_flight -= 1
        self.finished += len(attempt.rows.indices)
        self.window.answered(attempt.rows.tokens.input_ids.size, now)
        self._budget.answered()

    def failed(self, attempt: Attempt, error: SentritonError, now: float) -> None:
        """Sends its rows again later, or raises `error` with how far the call got: when repeating cannot help, when
        there is no time left for it, or when too much was repeated already to a server with too much to do.
        """
        self._in_flight -= 1
        if not isinstance(error, (Overloaded, ServerUnavailable)):
            raise self._with_progress(error)
        due = now + self._backoff.delay_s(attempt.number)
        if due >= self.deadline:
            raise self._with_progress(error)
        if isinstance(error, Overloaded):
            self.window.overloaded()
            if not self._budget.take():
                raise self._with_progress(error)
        self._last_failure = error
        self._order += 1
        heapq.heappush(self._waiting, _Waiting(due, self._order, Attempt(attempt.rows, attempt.number + 1)))

    def wait_s(self, now: float) -> float:
        """How long to wait for outcomes before `next` is worth asking again."""
        until = self.deadline
        if self._waiting and self._in_flight < self.window.limit:
            until = min(until, self._waiting[0].due)
        return max(0.0, until - now)

    @property
    def progress(self) -> str:
        return f" ({self.finished:,} of {self.total:,} sentences were embedded)" if self.total > 1 else ""

    def _with_progress(self, error: SentritonError) -> SentritonError:
        if not self.progress:
            return error
        reported = type(error)(f"{error}{self.progress}")
        reported.__cause__ = error.__cause__
        return reported
