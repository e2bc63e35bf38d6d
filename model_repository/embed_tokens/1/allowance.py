"""A limit of concurrent work. Plain code, free of Triton."""

from __future__ import annotations

import threading


class Allowance:
    """A counter with the limit `most`: `take` an amount, and `give` it back. All methods are thread-safe."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._changing = threading.Lock()

    def take(self, amount: int) -> bool:
        """Take `amount` if the limit allows it. If none is taken yet, `amount` may exceed the limit."""
        with self._changing:
            if self.taken and self.taken + amount > self.most:
                return False
            self.taken += amount
        return True

    def give(self, amount: int) -> None:
        with self._changing:
            self.taken -= amount
