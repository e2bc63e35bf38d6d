"""Text that waits for its turn in a lane: plain code, free of Triton."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

# What a request and each of its rows take beside their text.
_REQUEST_BYTES, _ROW_BYTES = 1024, 64
_MAX_WAIT_FRACTION = 0.5  # of a request's time; the rest is for embedding it


@dataclass(eq=False)
class Waiting:
    """A request's text, of so many bytes, and its parameters; `deadline` is a time of `time.monotonic()`, `handle`
    whatever the answer needs.
    """

    texts: list[str]
    size: int
    deadline: float
    parameters: dict[str, Any] = field(default_factory=dict)
    handle: Any = None
    arrived: float = field(default_factory=time.monotonic)

    @property
    def memory(self) -> int:
        """About the bytes that it holds while it waits."""
        return self.size + _REQUEST_BYTES + _ROW_BYTES * len(self.texts)


class TextQueue:
    """Text that waits, at most `most_bytes`. All methods may be called from any thread."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def add(self, waiting: Waiting) -> str | None:
        """Queue a request's text. Returns why not, where there is no room for it, or its turn would come too late: text
        ahead of it has waited for longer than it may.
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
            self._changed.notify()
        return None

    def take(self) -> Waiting | None:
        """Wait for text and take what came first; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                if self._waiting:
                    waiting = self._waiting.popleft()
                    self._bytes -= waiting.memory
                    return waiting
                self._changed.wait()
        return None

    def close(self) -> None:
        """Let every `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
