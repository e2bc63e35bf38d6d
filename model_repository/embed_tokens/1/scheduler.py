"""Chooses the rows of the next batch. Plain code, free of Triton.

Triton's dynamic batcher counts requests and rows, but an encoder's time and memory grow with tokens. With priorities, a
queue limit or a timeout, nothing notifies the batcher of Triton 24.10 of a free instance, which may idle for half a
second. So rows wait here, in lanes of bounded size, and leave in batches of similar length.
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
_SHORT_BATCH_DIVISOR = 8  # of `batch_tokens` for bulk work then, and for the least share of an idle encoder
_MIN_CANCELLABLE_S = 0.001  # the check for cancellation takes 0.1 ms, too long for rows of less computing time
_MIN_WAITING_BATCH_FRACTION = 0.5  # of a batch's tokens, from which it leaves before an instance is free
_MAX_WAIT_FRACTION = 0.5  # of a request's time; the rest is for computing it, and for slower batches


@dataclass(frozen=True)
class Batch:
    """The rows of one batch."""

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
        """Store `embeddings` [rows, dimension], or [tokens, hidden], in their requests. Returns the requests that are
        now complete.
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
    """Queues rows in lanes, and forms batches. All methods are thread-safe.

    A full batch has about `batch_tokens` tokens, on a fast processor up to `most_batch_tokens`, in whole blocks of
    `block_tokens` (`BatchSize`). Fewer waiting rows are divided evenly among the idle ones of `encoders`, which compute
    at the same time. `alike`: the rows of a batch have similar lengths. `on_expired` gets each request whose deadline
    passed in the queue. `on_cancelled` gets each request that `is_cancelled` reports.
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
        encoders: int = 1,
        waiting_rows: int,
        on_expired: Callable[[Request], None],
        is_cancelled: Callable[[Request], bool],
        on_cancelled: Callable[[Request], None],
    ) -> None:
        self.waiting_rows = waiting_rows
        self._batch_tokens = batch_tokens
        self._batch_rows = batch_rows
        self._alike = alike
        self._batches_in_flight = batches_in_flight
        # All batches in flight except one are being computed. The other is ready for the first free instance.
        self._batches_computed = max(1, batches_in_flight - 1)
        self._encoders = encoders
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
        """The number of rows in a lane."""
        return self._lanes[lane].rows

    def why_full(self, lane: str, deadline: float) -> str | None:
        """The reason why `add` would reject every request with this lane and deadline, or None."""
        with self._changed:
            return self._why_full(lane, deadline, 1)

    def add(self, *requests: Request) -> dict[Request, str]:
        """Queue the rows of `requests`. Returns the rejected requests with their reasons: the lane is full, or the rows
        would leave too late. Computing them for a caller that has given up takes time from others.
        """
        with self._changed:
            rejected = {request: reason for request in requests if (reason := self._queue(request))}
            self._wake()
        return rejected

    def take(self) -> Batch | None:
        """Wait for rows and take a batch. None once closed. The caller must report every batch to `done`."""
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
        """Report that a batch has ended. A failed batch (not `computed`) does not count for the processor's rate."""
        with self._changed:
            self._came_back(batch.lane, sum(batch.lengths()) if computed else 0)
            self._wake()

    def close(self) -> None:
        """Close the scheduler, so that every `take` returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _queue(self, request: Request) -> str | None:
        """Queue a request's rows in their lane. Returns the reason for a rejection, or None."""
        if reason := self._why_full(request.lane, request.deadline, len(request.unknown)):
            return reason
        if request.lane == "query":
            self._last_query = time.monotonic()
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
        """Wake one thread in `take` if a batch can leave. That thread wakes the next. Waking a thread without a batch
        would only take the interpreter lock from working threads.
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
            # Bulk work may leave after this time without a query. Nothing notifies this thread then.
            self._changed.wait(_QUERY_MEMORY_S)
        return None

    def _next_lane(self) -> str | None:
        return next((name for name in LANES if self._lanes[name].rows and self._may_leave(name)), None)

    def _may_leave(self, lane: str) -> bool:
        if self._in_flight < self._batches_computed or lane == CANARY_LANE:
            return True
        if self._in_flight >= self._batches_in_flight:
            return False
        # While queries arrive, bulk work leaves the last place to them, so that they do not wait.
        if lane == "bulk" and self._queries_come():
            return False
        if lane == "query" and self._bulk_in_flight:
            return True
        # Otherwise the batch would wait for an instance. A small batch waits here, where more rows can join it.
        return self._lanes[lane].tokens >= _MIN_WAITING_BATCH_FRACTION * self._batch_tokens

    def _queries_come(self) -> bool:
        return time.monotonic() - self._last_query < _QUERY_MEMORY_S

    def _tokens_of_a_batch(self, lane: str) -> int:
        short = self._batch_tokens // _SHORT_BATCH_DIVISOR
        if lane == "bulk" and self._queries_come():  # which wait for this batch
            return short
        full, idle = self._batch_size.tokens, self._encoders - self._in_flight
        return full if idle < 2 else min(max(short, -(-self._lanes[lane].tokens // idle)), full)

    def _alive(self, rows: list[Row]) -> list[Row]:
        """The rows of requests that are neither expired nor cancelled."""
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
