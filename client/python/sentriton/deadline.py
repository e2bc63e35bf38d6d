"""The deadline of a call. It uses no clock: times are seconds of any steady clock."""

from __future__ import annotations

import math

from sentriton.errors import DeadlineExceeded

LOOK_EVERY_S = 1.0  # interval of a call's looks at its deadline
_MAX_WAIT_S = 86_400.0  # a day, since gRPC and Triton use integers
# gRPC's timer and this clock differ by some milliseconds.
MARGIN_S = 0.1
# With less time, no request is sent: a cancellation at its answer can crash Triton 24.10 (issue 7368).
_LEAST_S = 0.002


class Deadline:
    """The end of a call, `timeout_s` after its start (None: no bound), or `stall_timeout_s` after its last answer."""

    def __init__(self, timeout_s: float | None, stall_timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._end = math.inf if timeout_s is None else now + timeout_s
        self._stalls = now + stall_timeout_s
        self._looked = now

    @property
    def end(self) -> float:
        return self._end

    @property
    def time(self) -> float:
        """The end of the call if no answer comes."""
        return min(self._end, self._stalls)

    def left_s(self, now: float) -> float:
        """The time in seconds for a request sent now, 0 after the end."""
        return min(max(0.0, self.time - now), _MAX_WAIT_S)

    def moved(self, now: float) -> None:
        """Restart the stall timeout, at an answer or the first request."""
        self._stalls = now + self._stall_timeout_s
        self._looked = now

    def looked(self, now: float) -> None:
        """The call is running. Time when it was blocked (a busy event loop, a suspended process) is no stall."""
        self._stalls += max(0.0, now - self._looked - LOOK_EVERY_S)
        self._looked = now

    def over(self, now: float) -> bool:
        return now + _LEAST_S >= self.time

    def exceeded(self, url: str) -> DeadlineExceeded:
        """The error of a call at its deadline, with the bound and the remedy."""
        if self._end <= self._stalls:
            return DeadlineExceeded(
                f"the call took longer than its timeout_s of {self._timeout_s:g} s; set a longer one, or none"
            )
        return DeadlineExceeded(
            f"{url} answered no request for {self._stall_timeout_s:g} s; check the server (`sentriton health`), or set "
            "a longer stall_timeout_s"
        )
