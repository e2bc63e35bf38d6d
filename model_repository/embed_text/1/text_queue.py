"""The queue of a lane's text. Text leaves it in groups. Plain code, free of Triton."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

# Memory per request and per row, in addition to the text.
_REQUEST_BYTES, _ROW_BYTES = 1024, 64
_MAX_WAIT_FRACTION = 0.5  # of a request's time; the rest is for embedding it
# A group has the earliest deadline of its requests. The others lose at most this part of their time.
_MAX_LOST_FRACTION = 0.125
# Fraction of `group_rows` from which one more group leaves, to be ready when the encoder is. A smaller group would only
# wait in embed_tokens, where new text cannot join it.
_MIN_NEXT_GROUP_FRACTION = 0.25
_MAX_PASSED_OVER = 64  # requests that do not fit a group, after which the search for more ends


@dataclass(eq=False)
class Waiting:
    """A request's text, its size in bytes and its parameters. `deadline` is a time of `time.monotonic()`. `handle` has
    the objects that the answer needs.
    """

    texts: list[str]
    size: int
    deadline: float
    parameters: dict[str, Any] = field(default_factory=dict)
    handle: Any = None
    arrived: float = field(default_factory=time.monotonic)

    @property
    def memory(self) -> int:
        """Its approximate memory in bytes while it waits."""
        return self.size + _REQUEST_BYTES + _ROW_BYTES * len(self.texts)

    def suits(self, other: Waiting, now: float) -> bool:
        """Whether both may share a request to embed_tokens: equal parameters and similar deadlines."""
        earlier, later = sorted((self.deadline, other.deadline))
        return self.parameters == other.parameters and later - earlier <= _MAX_LOST_FRACTION * (later - now)


class TextQueue:
    """A queue of at most `most_bytes` of text. All methods are thread-safe.

    Text leaves in groups of requests with at most `group_rows` and `group_bytes`. A single request may have more.
    While fewer than `groups` groups are in progress, a group leaves at once. Otherwise text waits for a group to come
    back, and more text joins it. One further group leaves once it has a quarter of its rows. Full groups always leave.
    """

    def __init__(self, most_bytes: int, *, groups: int = 1, group_rows: int = 1, group_bytes: int = 0) -> None:
        self.most_bytes = most_bytes
        self._groups, self._group_rows, self._group_bytes = groups, group_rows, group_bytes
        self._waiting: deque[Waiting] = deque()
        self._bytes, self._rows = 0, 0
        self._away = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def rows(self) -> int:
        """The number of rows that wait."""
        return self._rows

    def add(self, waiting: Waiting) -> str | None:
        """Queue a request's text. Returns the reason for a rejection, or None. It rejects a request if the lane is
        full, or if text ahead has already waited for longer than the request may wait.
        """
        with self._changed:
            if self._waiting:
                if self._bytes + waiting.memory > self.most_bytes:
                    return f"{self._bytes:,} bytes of text wait, at most {self.most_bytes:,} may"
                waited_s = waiting.arrived - self._waiting[0].arrived
                allowed_s = max(0.0, _MAX_WAIT_FRACTION * (waiting.deadline - waiting.arrived))
                if waited_s > allowed_s:
                    return f"text has waited for {waited_s:.1f} s, and this request may wait {allowed_s:.1f} s"
            self._waiting.append(waiting)
            self._bytes += waiting.memory
            self._rows += len(waiting.texts)
            self._wake()
        return None

    def take(self) -> list[Waiting] | None:
        """Wait for text, and take the first request with those that may join it. None once the queue is closed. The
        caller must report every group to `came_back`.
        """
        with self._changed:
            while not self._closed:
                if self._may_leave():
                    group = self._take_group()
                    self._away += 1
                    self._wake()
                    return group
                self._changed.wait()
        return None

    def came_back(self) -> None:
        """Report that a group is embedded."""
        with self._changed:
            self._away -= 1
            self._wake()

    def close(self) -> None:
        """Close the queue, so that every `take` returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _may_leave(self) -> bool:
        if not self._waiting or self._away < self._groups:
            return bool(self._waiting)
        fraction = _MIN_NEXT_GROUP_FRACTION if self._away == self._groups else 1
        return self._rows >= fraction * self._group_rows

    def _wake(self) -> None:
        """Wake one thread in `take` if a group can leave. That thread wakes the next."""
        if self._may_leave():
            self._changed.notify()

    def _take_group(self) -> list[Waiting]:
        first = self._waiting.popleft()
        group, passed_over = [first], []
        rows, size, now = len(first.texts), first.size, time.monotonic()
        while self._waiting and rows < self._group_rows and len(passed_over) < _MAX_PASSED_OVER:
            other = self._waiting.popleft()
            fits = rows + len(other.texts) <= self._group_rows and size + other.size <= self._group_bytes
            if fits and first.suits(other, now):
                group.append(other)
                rows, size = rows + len(other.texts), size + other.size
            else:
                passed_over.append(other)
        self._waiting.extendleft(reversed(passed_over))
        self._rows -= rows
        self._bytes -= sum(waiting.memory for waiting in group)
        return group
