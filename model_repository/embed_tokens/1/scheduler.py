"""Which rows are embedded next: plain code, free of Triton.

Triton's dynamic batcher counts requests and rows, while an encoder's time and memory grow with tokens. Behind a queue
with priorities, a limit or a timeout, Triton 24.10 lets an instance idle for up to half a second: its batcher is not
told when the instance is free. So rows wait here, in lanes of bounded size, and leave in batches of like length.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batch_size import BatchSize
from .lane import Lane
from .request import CANARY_LANE, LANES, Request, Row

_QUERY_MEMORY_S = 1.0  # bulk batches stay short for this long after a query
_SHORT_BATCH_DIVISOR = 8  # of `batch_tokens` then: a query waits for one; kernels reach their rate at 64 tokens
_MIN_CANCELLABLE_S = 0.001  # asking whether a caller has cancelled takes 0.1 ms; rows of less time are not worth it
_MIN_WAITING_BATCH_FRACTION = 0.5  # of a batch's tokens, before it leaves although nothing can compute it yet
_MAX_WAIT_FRACTION = 0.5  # of a request's time; the rest is for computing it, and for slower batches


@dataclass(frozen=True)
class Batch:
    """Rows that are embedded together."""

    rows: list[Row]

    @property
    def lane(self) -> str:
        return self.rows[0].request.lane

    @property
    def of_tokens(self) -> bool:
        return self.rows[0].request.of_tokens

    def tokens(self) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int32]]:
        """`input_ids` int32, `pooled` bool and `row` int32, all [tokens], of the packed rows."""
        parts = [(row.request, row.request.tokens_of(row.place)) for row in self.rows]
        input_ids = np.concatenate([request.input_ids[tokens] for request, tokens in parts])
        pooled = np.concatenate([request.pooled[tokens] for request, tokens in parts])
        return input_ids, pooled, np.repeat(np.arange(len(parts), dtype=np.int32), self.lengths())

    def lengths(self) -> list[int]:
        """The tokens of each row."""
        return [row.length for row in self.rows]

    def requests(self) -> dict[Request, list[int]]:
        """The requests of these rows, and the places in this batch of each request's rows."""
        requests: dict[Request, list[int]] = {}
        for at, row in enumerate(self.rows):
            requests.setdefault(row.request, []).append(at)
        return requests

    def deliver(self, embeddings: NDArray[np.float32]) -> list[Request]:
        """Put `embeddings` [rows, dimension], or [tokens, hidden], into their requests; returns those whose rows are
        all there now.
        """
        ends = np.cumsum(self.lengths())
        complete = []
        for request, rows in self.requests().items():
            own: Any = rows
            if request.of_tokens:
                own = np.concatenate([np.arange(ends[at] - self.rows[at].length, ends[at]) for at in rows])
            if request.fill([self.rows[at].place for at in rows], embeddings[own]):
                complete.append(request)
        return complete


class Scheduler:
    """The lanes, and the batches that leave them. All methods may be called from any thread.

    A full batch has about `batch_tokens` tokens, or up to `most_batch_tokens` on a quick processor, and these are whole
    blocks of `block_tokens` (`BatchSize`). `alike`: its rows are of like length.
    `on_expired` gets each request whose deadline passed while it waited, `on_cancelled` each whose caller cancelled it
    meanwhile, as `is_cancelled` says.
    """

    def __init__(
        self,
        *,
        batch_tokens: int,
        most_batch_tokens: int | None = None,
        block_tokens: int = 1,
        batch_rows: int,
        alike: bool = True,
        batches_in_flight: int,
        waiting_rows: int,
        on_expired: Callable[[Request], None],
        is_cancelled: Callable[[Request], bool],
        on_cancelled: Callable[[Request], None],
    ) -> None:
        self.waiting_rows = waiting_rows
        self._batch_tokens = batch_tokens
        self._batch_rows = batch_rows
        self._alike = alike
        # All but one of the batches in flight are computed; the last is ready for the first instance that is free.
        self._batches_computed = max(1, batches_in_flight - 1)
        self._batch_size = BatchSize(batch_tokens, most_batch_tokens or batch_tokens, block_tokens)
        self._in_flight = 0
        self._on_expired = on_expired
        self._is_cancelled = is_cancelled
        self._on_cancelled = on_cancelled
        self._lanes = {name: Lane() for name in LANES}
        self._bulk_in_flight = 0
        self._last_query = -_QUERY_MEMORY_S
        self._order = 0
        self._closed = False
        self._changed = threading.Condition()

    def waiting(self, lane: str) -> int:
        """Rows that wait in a lane."""
        return self._lanes[lane].rows

    def why_full(self, lane: str, deadline: float) -> str | None:
        """The reason for which `add` would reject any request of this lane and deadline, else None."""
        with self._changed:
            return self._why_full(lane, deadline, 1)

    def add(self, *requests: Request) -> dict[Request, str]:
        """Queue the rows of `requests`. Returns the rejected ones, each with the reason: its lane is full, or its rows
        would leave too late. Computing them for a caller that has gone takes time from others.
        """
        with self._changed:
            rejected = {request: reason for request in requests if (reason := self._queue(request))}
            self._wake()
        return rejected

    def take(self) -> Batch | None:
        """Wait for rows and take a batch of them; None once the scheduler is closed. Every batch goes to `done`."""
        while True:
            with self._changed:
                lane = self._wait_for_lane()
                if lane is None:
                    return None
                rows = self._lanes[lane].take(self._tokens_of_a_batch(lane), self._batch_rows, self._alike)
                self._left(lane)
                self._wake()
            alive = self._alive(rows)
            if alive:
                return Batch(alive)
            with self._changed:
                self._came_back(lane, 0)

    def done(self, batch: Batch, computed: bool = True) -> None:
        """A batch that was taken has come back. One that failed says nothing of the processor's rate."""
        with self._changed:
            self._came_back(batch.lane, sum(batch.lengths()) if computed else 0)
            self._wake()

    def close(self) -> None:
        """Let every `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _queue(self, request: Request) -> str | None:
        """Put a request's rows into their lane. Returns the reason for a rejection, else None."""
        if reason := self._why_full(request.lane, request.deadline, len(request.unknown)):
            return reason
        if request.lane == "query":
            self._last_query = request.arrived
        self._order += 1
        self._lanes[request.lane].add(request, self._order)
        return None

    def _why_full(self, name: str, deadline: float, rows: int) -> str | None:
        lane = self._lanes[name]
        if lane.rows and lane.rows + rows > self.waiting_rows:
            return f"{lane.rows} rows wait, at most {self.waiting_rows} may"
        wait_s, allowed_s = lane.wait_s(), max(0.0, _MAX_WAIT_FRACTION * (deadline - time.monotonic()))
        if lane.rows and wait_s > allowed_s:
            return f"a turn comes in about {wait_s:.1f} s, and this request may wait {allowed_s:.1f} s"
        return None

    def _wake(self) -> None:
        """Wake one thread that waits in `take`, if a batch can leave. A thread that wakes without a batch takes the
        interpreter from those that work. A thread that takes a batch wakes the next.
        """
        if self._next_lane() is not None:
            self._changed.notify()

    def _left(self, lane: str) -> None:
        self._in_flight += 1
        self._bulk_in_flight += lane == "bulk"
        self._batch_size.taken(time.monotonic())

    def _came_back(self, lane: str, tokens: int) -> None:
        self._batch_size.came_back(tokens, time.monotonic())
        self._in_flight -= 1
        self._bulk_in_flight -= lane == "bulk"

    def _wait_for_lane(self) -> str | None:
        while not self._closed:
            if lane := self._next_lane():
                return lane
            # Bulk work may leave once no query has come for this long, and nothing notifies this thread then.
            self._changed.wait(_QUERY_MEMORY_S)
        return None

    def _next_lane(self) -> str | None:
        return next((name for name in LANES if self._lanes[name].rows and self._may_leave(name)), None)

    def _may_leave(self, lane: str) -> bool:
        if self._in_flight < self._batches_computed or lane == CANARY_LANE:
            return True
        # Bulk work leaves the last place to queries, if any come, and they need not wait behind it.
        if lane == "bulk" and self._queries_come():
            return False
        if lane == "query" and self._bulk_in_flight:
            return True
        # A batch that would only wait elsewhere waits here, where more rows may join it, unless it is large already.
        return self._lanes[lane].tokens >= _MIN_WAITING_BATCH_FRACTION * self._batch_tokens

    def _queries_come(self) -> bool:
        return time.monotonic() - self._last_query < _QUERY_MEMORY_S

    def _tokens_of_a_batch(self, lane: str) -> int:
        short = lane == "bulk" and self._queries_come()
        return self._batch_tokens // _SHORT_BATCH_DIVISOR if short else self._batch_size.tokens

    def _alive(self, rows: list[Row]) -> list[Row]:
        """The rows of requests whose callers still wait."""
        lane = self._lanes[rows[0].request.lane]
        now = time.monotonic()
        for request, its_rows in Batch(rows).requests().items():
            if request.ended:
                continue
            if now >= request.deadline:
                if request.end():
                    self._on_expired(request)
                continue
            worth_asking = lane.compute_s([rows[at] for at in its_rows]) > _MIN_CANCELLABLE_S
            if worth_asking and self._is_cancelled(request) and request.end():
                self._on_cancelled(request)
        return [row for row in rows if not row.request.ended]
