"""Which rows are embedded next: plain code, free of Triton.

Triton's dynamic batcher counts requests and rows. An encoder's time and memory go with tokens, and Triton 24.10 lets an
instance idle for up to half a second behind a queue with priorities, a limit or a timeout (its batcher is not told when
the instance is free). So rows wait here: in two lanes, of bounded size, and leave in steps of like length.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

CANARY_LANE = "canary"
CALLERS_LANES = ("query", "bulk")
LANES = (CANARY_LANE, *CALLERS_LANES)  # in the order in which they are served
DEFAULT_LANE = "query"
_BUCKET = 8  # lengths of a bucket differ by less than this many tokens
_MOST_PADDING = 0.2  # of a step, if its rows were padded to the longest, as attention on a GPU does
_QUERY_MEMORY_S = 1.0  # bulk steps stay short for this long after a query
_OF_A_STEP = 8  # and so many times shorter: a query waits for one; kernels are at their rate from 64 tokens on
_PACE_MEMORY = 0.9  # of what is known of a lane's pace, with each step: about ten steps count
# Asking whether a caller has cancelled takes a tenth of a millisecond: it must save more than that.
_WORTH_ASKING_S = 0.001
_WORTH_LEAVING = 0.5  # of a step's tokens
_OF_ITS_TIME = 0.5  # what a request may expect to wait; the rest is for being computed, and for what slows the pace


@dataclass(eq=False)
class Request:
    """A caller's packed rows, checked already: `input_ids` int32, `pooled` bool and `row` int32, all [tokens].

    `deadline` is a time of `time.monotonic()`; `handle` is whatever the answer needs. Its rows may be in several steps
    at once: `embeddings` fills up as they come back, and whoever comes first ends the request. It is [rows, dimension],
    or [tokens, hidden] where `of_tokens` says so. Rows that are `known`, embeddings by place, are there from the start;
    those that are `unknown` have a turn. `on_end` is called once, when the request has ended.
    """

    input_ids: NDArray[np.int32]
    pooled: NDArray[np.bool_]
    row: NDArray[np.int32]
    deadline: float
    lane: str = DEFAULT_LANE
    of_tokens: bool = False
    handle: Any = None
    on_end: Callable[[], None] = lambda: None
    arrived: float = field(default_factory=time.monotonic)
    known: InitVar[Mapping[int, NDArray[np.float32]]] = MappingProxyType({})
    unknown: list[int] = field(init=False)
    embeddings: NDArray[np.float32] | None = None
    ended: bool = False
    _starts: list[int] = field(init=False)
    _missing: int = field(init=False)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self, known: Mapping[int, NDArray[np.float32]]) -> None:
        self._starts = [0, *np.bincount(self.row).cumsum().tolist()]
        self._missing = self.rows
        self.unknown = [place for place in range(self.rows) if place not in known]
        if known:
            self.fill(list(known), np.stack(list(known.values())))

    @property
    def rows(self) -> int:
        return len(self._starts) - 1

    def tokens_of(self, place: int) -> slice:
        """Where the tokens of a row stand."""
        return slice(self._starts[place], self._starts[place + 1])

    def end(self) -> bool:
        """Whether the caller is the first to end this request, and so the one who answers it."""
        with self._changing:
            first, self.ended = not self.ended, True
        if first:
            self.on_end()
        return first

    def fill(self, places: list[int], embeddings: NDArray[np.float32]) -> bool:
        """Put `embeddings` [len(places), dimension], or [tokens of these places, hidden], into these rows. Returns
        whether all rows are there now.
        """
        with self._changing:
            size = len(self.row) if self.of_tokens else self.rows
            if self.embeddings is None:
                self.embeddings = np.empty((size, embeddings.shape[1]), np.float32)
            if self.of_tokens:
                self.embeddings[np.concatenate([np.r_[self.tokens_of(place)] for place in places])] = embeddings
            else:
                self.embeddings[places] = embeddings
            self._missing -= len(places)
            return self._missing == 0


@dataclass(frozen=True)
class Row:
    request: Request
    place: int
    length: int
    order: int


@dataclass(frozen=True)
class Step:
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
        """Whose rows they are, and which of this step's rows belong to each."""
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


class Allowance:
    """How much of something may be under way: `take` it, and `give` it back."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._changing = threading.Lock()

    def take(self, amount: int) -> bool:
        """Whether `amount` more is allowed; the first to come may have more than `most`."""
        with self._changing:
            if self.taken and self.taken + amount > self.most:
                return False
            self.taken += amount
        return True

    def give(self, amount: int) -> None:
        with self._changing:
            self.taken -= amount


class Pace:
    """How fast a lane's tokens have their turn, from the times between its steps while more waited."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._tokens = 0.0
        self._last: float | None = None

    def taken(self, tokens: int, now: float, *, more: bool) -> None:
        """A step of `tokens` left at time `now`; `more` says whether rows still wait."""
        if self._last is not None:
            self._seconds = _PACE_MEMORY * self._seconds + now - self._last
            self._tokens = _PACE_MEMORY * self._tokens + tokens
        self._last = now if more else None

    def wait_s(self, tokens: int) -> float:
        """How long until so many tokens have had their turn; 0 where nothing is known."""
        return tokens * self._seconds / self._tokens if self._tokens else 0.0


class Lane:
    """Rows that wait, by length. A step takes the row that has waited longest and those nearest to it in length that
    want the same: sentence embeddings, or those of tokens.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.tokens = 0
        self._pace = Pace()
        self._buckets: dict[tuple[bool, int], deque[Row]] = {}

    def wait_s(self) -> float:
        """How long what waits here will take to have had its turn."""
        return self._pace.wait_s(self.tokens)

    def worth_s(self, rows: list[Row]) -> float:
        """How long these rows take to be computed."""
        return self._pace.wait_s(sum(row.length for row in rows))

    def add(self, request: Request, order: int) -> None:
        for place in request.unknown:
            tokens = request.tokens_of(place)
            row = Row(request, place, tokens.stop - tokens.start, order)
            self._buckets.setdefault(_bucket(row), deque()).append(row)
            self.tokens += row.length
        self.rows += len(request.unknown)

    def take(self, most_tokens: int, most_rows: int) -> list[Row]:
        """Remove and return rows of at most `most_tokens`, padded to the longest; a single row may have more."""
        anchor = min(self._buckets, key=lambda bucket: self._buckets[bucket][0].order)
        rows: list[Row] = []
        longest, tokens = 0, 0
        for row in self._nearest(anchor):
            longest, tokens = max(longest, row.length), tokens + row.length
            size = longest * (len(rows) + 1)
            if rows and (size > most_tokens or len(rows) == most_rows or size - tokens > _MOST_PADDING * size):
                break
            rows.append(row)
        self._remove(rows)
        return rows

    def _nearest(self, anchor: tuple[bool, int]) -> Iterator[Row]:
        of_tokens, length = anchor
        same = (bucket for bucket in self._buckets if bucket[0] == of_tokens)
        for bucket in sorted(same, key=lambda bucket: (abs(bucket[1] - length), -bucket[1])):
            yield from self._buckets[bucket]

    def _remove(self, rows: list[Row]) -> None:
        # Rows were taken from the front of their buckets.
        for row in rows:
            bucket = _bucket(row)
            self._buckets[bucket].popleft()
            if not self._buckets[bucket]:
                del self._buckets[bucket]
        self.rows -= len(rows)
        tokens = sum(row.length for row in rows)
        self.tokens -= tokens
        self._pace.taken(tokens, time.monotonic(), more=self.rows > 0)


def _bucket(row: Row) -> tuple[bool, int]:
    return row.request.of_tokens, -(-row.length // _BUCKET)


class Scheduler:
    """The lanes and what is taken from them. All methods may be called from any thread.

    `on_expired` gets each request whose deadline passed while it waited, `on_cancelled` each whose caller gave it up
    meanwhile, as `is_cancelled` says.
    """

    def __init__(
        self,
        *,
        step_tokens: int,
        step_rows: int,
        steps_in_flight: int,
        waiting_rows: int,
        on_expired: Callable[[Request], None],
        is_cancelled: Callable[[Request], bool],
        on_cancelled: Callable[[Request], None],
    ) -> None:
        self.waiting_rows = waiting_rows
        self._step_tokens = step_tokens
        self._step_rows = step_rows
        # All but one of the steps in flight are computed; the last is there for whoever computes to go on with at once.
        self._steps_computed = max(1, steps_in_flight - 1)
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

    def add(self, *requests: Request) -> dict[Request, str]:
        """Queue the rows of `requests`. Returns those turned away, with the reason: a lane that is full, or a turn that
        would come too late, since what is computed for a caller who has gone is taken from those who wait.
        """
        with self._changed:
            turned_away = {request: reason for request in requests if (reason := self._queue(request))}
            self._wake()
        return turned_away

    def take(self) -> Step | None:
        """Wait for rows and take a step of them; None once the scheduler is closed. Every step goes to `done`."""
        while True:
            with self._changed:
                lane = self._wait_for_lane()
                if lane is None:
                    return None
                rows = self._lanes[lane].take(self._tokens_of_a_step(lane), self._step_rows)
                self._left(lane)
                self._wake()
            alive = self._alive(rows)
            if alive:
                return Step(alive)
            with self._changed:
                self._came_back(lane)

    def done(self, step: Step) -> None:
        """A step that was taken has come back."""
        with self._changed:
            self._came_back(step.lane)
            self._wake()

    def close(self) -> None:
        """Let every `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _queue(self, request: Request) -> str | None:
        """Put rows into their lane; or say why not."""
        lane = self._lanes[request.lane]
        if lane.rows and lane.rows + len(request.unknown) > self.waiting_rows:
            return f"{lane.rows} rows wait, at most {self.waiting_rows} may"
        wait_s, allowed_s = lane.wait_s(), max(0.0, _OF_ITS_TIME * (request.deadline - time.monotonic()))
        if lane.rows and wait_s > allowed_s:
            return f"a turn comes in about {wait_s:.1f} s, and this request may wait {allowed_s:.1f} s"
        if request.lane == "query":
            self._last_query = request.arrived
        self._order += 1
        lane.add(request, self._order)
        return None

    def _wake(self) -> None:
        """Wake one who waits in `take`, if there is something to take: whoever is woken for nothing takes the
        interpreter from those who work. Whoever takes something wakes the next.
        """
        if self._next_lane() is not None:
            self._changed.notify()

    def _left(self, lane: str) -> None:
        self._in_flight += 1
        self._bulk_in_flight += lane == "bulk"

    def _came_back(self, lane: str) -> None:
        self._in_flight -= 1
        self._bulk_in_flight -= lane == "bulk"

    def _wait_for_lane(self) -> str | None:
        while not self._closed:
            if lane := self._next_lane():
                return lane
            # Bulk work may go when no query came for so long, and nobody wakes us then.
            self._changed.wait(_QUERY_MEMORY_S)
        return None

    def _next_lane(self) -> str | None:
        return next((name for name in LANES if self._lanes[name].rows and self._may_go(name)), None)

    def _may_go(self, lane: str) -> bool:
        if self._in_flight < self._steps_computed or lane == CANARY_LANE:
            return True
        # Bulk work leaves the last place to queries, if any come, and they need not wait behind it.
        if lane == "bulk" and self._queries_come():
            return False
        if lane == "query" and self._bulk_in_flight:
            return True
        # What would only wait elsewhere waits here, where more may join it, unless it is much already.
        return self._lanes[lane].tokens >= _WORTH_LEAVING * self._step_tokens

    def _queries_come(self) -> bool:
        return time.monotonic() - self._last_query < _QUERY_MEMORY_S

    def _tokens_of_a_step(self, lane: str) -> int:
        return self._step_tokens // _OF_A_STEP if lane == "bulk" and self._queries_come() else self._step_tokens

    def _alive(self, rows: list[Row]) -> list[Row]:
        """The rows of requests that somebody still waits for."""
        lane = self._lanes[rows[0].request.lane]
        now = time.monotonic()
        for request, its_rows in Step(rows).requests().items():
            if request.ended:
                continue
            if now >= request.deadline:
                if request.end():
                    self._on_expired(request)
                continue
            worth_asking = lane.worth_s([rows[at] for at in its_rows]) > _WORTH_ASKING_S
            if worth_asking and self._is_cancelled(request) and request.end():
                self._on_cancelled(request)
        return [row for row in rows if not row.request.ended]
