"""The limit of concurrent requests, and the pauses before retries. It uses no clock."""

from __future__ import annotations

import random
from dataclasses import dataclass

MIN_REQUESTS = 4  # one computed, one queued, and two in transfer


@dataclass
class Window:
    """The limit of concurrent requests. It grows while this raises the rate, and halves when the server is overloaded.

    It compares the rate (tokens per second) of each round, as many answers as the limit, with the best one.
    """

    limit: int = MIN_REQUESTS
    most: int = 16
    best_rate: float = 0.0
    _tokens: int = 0
    _answers: int = 0
    _since: float = -1.0

    def __post_init__(self) -> None:
        self.limit = min(self.limit, self.most)

    def anew(self) -> Window:
        return Window(self.limit, self.most, self.best_rate)

    def answered(self, tokens: int, now: float) -> None:
        if self._since < 0:
            self._since = now
            return
        self._tokens += tokens
        self._answers += 1
        if self._answers < self.limit or now <= self._since:
            return
        rate = self._tokens / (now - self._since)
        # After an overload it grows by one, at any rate.
        if rate > 1.05 * self.best_rate or self.limit < MIN_REQUESTS:
            self.limit = min(self.limit + 1, self.most)
        # The best fades, in case the server becomes slower.
        self.best_rate = max(rate, 0.98 * self.best_rate)
        self._tokens, self._answers, self._since = 0, 0, now

    def overloaded(self) -> None:
        self.limit = max(1, self.limit // 2)
        self._tokens, self._answers, self._since = 0, 0, -1.0


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts: exponential, full jitter (AWS, "Exponential Backoff And Jitter")."""

    first_s: float = 0.1
    most_s: float = 3.0

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait before attempt number `attempt` + 1; `attempt` counts from 1."""
        ceiling = min(self.most_s, self.first_s * 2 ** min(attempt - 1, 16))
        return random.uniform(0.2, 1.0) * ceiling


@dataclass
class RetryBudget:
    """Bounds retries at an overloaded server, but not at an unavailable one, to a share of its answers.

    It has `capacity` tokens. A retry takes one, and an answer returns `per_answer`.
    """

    capacity: float = 100.0
    per_answer: float = 0.2
    tokens: float = 100.0

    def answered(self) -> None:
        self.tokens = min(self.capacity, self.tokens + self.per_answer)

    def take(self) -> bool:
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
