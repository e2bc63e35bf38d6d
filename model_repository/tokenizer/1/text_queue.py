"""Which text is tokenized next: plain code, free of Triton.

Tokenizing takes a second for some megabytes, so text waits in lanes of bounded size: short text does not wait behind
long text, and the health check's waits behind nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

CANARY, SHORT, LONG = "canary", "short", "long"
SHORT_BYTES = 2 * 1024  # some tenths of a millisecond of work; a full request has more
# What a request and each of its rows take beside their text: text of no bytes must not wait without bound.
_REQUEST_BYTES, _ROW_BYTES = 1024, 64
_OF_ITS_TIME = 0.5  # that a request may expect to wait; the rest is for being embedded


@dataclass(eq=False)
class Waiting:
    """A request's text, of so many bytes; `deadline` is a time of `time.monotonic()`, `handle` whatever the answer
    needs.
    """

    texts: list[str]
    size: int
    deadline: float
    is_canary: bool = False
    handle: Any = None
    arrived: float = field(default_factory=time.monotonic)

    @property
    def lane(self) -> str:
        if self.is_canary:
            return CANARY
        return SHORT if self.size <= SHORT_BYTES else LONG

    @property
    def memory(self) -> int:
        """About the bytes that it holds while it waits."""
        return self.size + _REQUEST_BYTES + _ROW_BYTES * len(self.texts)


class TextQueue:
    """Text that waits, at most `most_bytes` in the lane of short text and in that of long text. All methods may be
    called from any thread.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lanes: dict[str, deque[Waiting]] = {lane: deque() for lane in (CANARY, SHORT, LONG)}
        self._bytes = dict.fromkeys(self._lanes, 0)
        self._closed = False
        self._changed = threading.Condition()

    def add(self, waiting: Waiting) -> str | None:
        """Queue a request's text. Returns why not, where there is no room for it, or its turn would come too late: text
        ahead of it has waited for longer than it may.
        """
        lane = waiting.lane
        with self._changed:
            held = self._bytes[lane]
            if lane != CANARY and held:
                if held + waiting.memory > self.most_bytes:
                    return f"{held:,} bytes of text wait, at most {self.most_bytes:,} may"
                waited_s = waiting.arrived - self._lanes[lane][0].arrived
                allowed_s = max(0.0, _OF_ITS_TIME * (waiting.deadline - waiting.arrived))
                if waited_s > allowed_s:
                    return f"text has waited for {waited_s:.1f} s, and this request may wait {allowed_s:.1f} s"
            self._lanes[lane].append(waiting)
            self._bytes[lane] += waiting.memory
            self._changed.notify_all()
        return None

    def take(self, lanes: Sequence[str]) -> Waiting | None:
        """Wait for text in one of `lanes` and take what came first in the first of them that has any; None once the
        queue is closed."""
        with self._changed:
            while not self._closed:
                if lane := next((lane for lane in lanes if self._lanes[lane]), None):
                    waiting = self._lanes[lane].popleft()
                    self._bytes[lane] -= waiting.memory
                    return waiting
                self._changed.wait()
        return None

    def is_idle(self) -> bool:
        """Whether no short text waits."""
        return not self._lanes[CANARY] and not self._lanes[SHORT]

    def close(self) -> None:
        """Let every `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
