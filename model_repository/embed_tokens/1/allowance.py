"""How much of something may be under way at once: plain code, free of Triton."""

from __future__ import annotations

import threading


class Allowance:
    """At most `most` of something: `take` some, and `give` it back. All methods may be called from any thread."""

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
