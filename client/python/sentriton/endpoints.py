"""Which of several servers gets the next request: the one with the fewest under way, among those that answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Channel = TypeVar("Channel")
_REST_S = 1.0  # a server that was away is asked again after this long


@dataclass(eq=False)
class Endpoint(Generic[Channel]):
    """One server: its address, the way there, and what is known of it."""

    address: str
    channel: Channel
    in_flight: int = 0
    resting_until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """A request leaves for it."""
        with self._lock:
            self.in_flight += 1

    def end(self) -> None:
        """A request came back, in whatever way."""
        with self._lock:
            self.in_flight -= 1

    def rest(self, now: float) -> None:
        """It did not answer: leave it alone for a moment, so that the others are tried first."""
        self.resting_until = now + _REST_S


class Endpoints(Generic[Channel]):
    """The servers of one client."""

    def __init__(self, endpoints: Sequence[Endpoint[Channel]]) -> None:
        self.all = tuple(endpoints)
        self._turn = 0

    def choose(self, now: float) -> Endpoint[Channel]:
        """The least busy server that is not resting, in turn where several are; all rest: the one that has rested
        longest.
        """
        self._turn += 1
        turn = [*self.all[self._turn % len(self.all) :], *self.all[: self._turn % len(self.all)]]
        awake = [endpoint for endpoint in turn if endpoint.resting_until <= now]
        if not awake:
            return min(turn, key=lambda endpoint: endpoint.resting_until)
        return min(awake, key=lambda endpoint: endpoint.in_flight)
