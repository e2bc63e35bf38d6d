"""Sends answers to callers. Each waits for Triton, so a thread of its own sends those of `execute`."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

import triton_python_backend_utils as pb_utils

# A caller's gRPC library cancels a request at its deadline. Triton 24.10 can crash if it gets the answer just then
# (issue 7368). So a rejection near the deadline is held for this long, and leaves at the next call of `release`.
HELD_S = 0.5


class Answers:
    """The answers that are on their way to callers. All methods are thread-safe."""

    def __init__(self) -> None:
        self._held: deque[tuple[float, Any, Any]] = deque()
        self._queue: SimpleQueue[tuple[Any, Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._send_queued, daemon=True)
        self._thread.start()

    def send(self, sender: Any, response: Any) -> None:
        """Send a response, and wait for Triton."""
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:  # an answer that Triton rejects must not end the thread
            pb_utils.Logger.log_error(f"an answer could not be sent: {type(error).__name__}: {error}")

    def queue(self, sender: Any, response: Any, deadline: float = math.inf) -> None:
        """Let the thread send a response. If the caller may cancel at `deadline`, it leaves after that moment."""
        now = time.monotonic()
        if deadline < now + HELD_S:
            self._held.append((max(now, deadline) + HELD_S, sender, response))
        else:
            self._queue.put((sender, response))

    def release(self, now: float) -> None:
        """Send the held responses that are due at `now`, a time of `time.monotonic`."""
        while self._held and self._held[0][0] <= now:
            _, sender, response = self._held.popleft()
            self._queue.put((sender, response))

    def close(self) -> None:
        """Send all remaining responses."""
        self.release(math.inf)
        self._queue.put(None)
        self._thread.join()

    def _send_queued(self) -> None:
        while (answer := self._queue.get()) is not None:
            self.send(*answer)
