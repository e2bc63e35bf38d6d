"""When a call has to end. No clock of its own: times are seconds of any steady clock."""

from __future__ import annotations

import math

from sentriton.errors import DeadlineExceeded

LOOK_EVERY_S = 1.0  # a call looks at its deadline at least this often
_MAX_WAIT_S = 86_400.0  # a day: gRPC and Triton count in integers, which have an end
# gRPC's timer and this clock differ by some milliseconds: so close to the end, the call is over.
MARGIN_S = 0.1
# With less time, no request is sent: one that is cancelled as it arrives can crash Triton 24.10 (issue 7368).
_LEAST_S = 0.002


class Deadline:
    """The end of a call: `timeout_s` after its begin (None: no bound), or `stall_timeout_s` after its last answer."""

    def __init__(self, timeout_s: float | None, stall_timeout_s: float, now: float) -> None:
        self._timeout_s = timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._end = math.inf if timeout_s is None else now + timeout_s
        self._stalls = now + stall_timeout_s
        self._looked = now

    @property
    def end(self) -> float:
        """The time at which the call ends in any case."""
        return self._end

    @property
    def time(self) -> float:
        """When the call ends if nothing is answered until then."""
        return min(self._end, self._stalls)

    def left_s(self, now: float) -> float:
        """The seconds that a request sent now may take; 0 after the end."""
        return min(max(0.0, self.time - now), _MAX_WAIT_S)

    def moved(self, now: float) -> None:
        """A request was answered, or the first is to be sent: the server has its whole time again."""
        self._stalls = now + self._stall_timeout_s
        self._looked = now

    def looked(self, now: float) -> None:
        """The call is awake. Time in which it was not (a busy event loop, a suspended process) is no silence."""
        self._stalls += max(0.0, now - self._looked - LOOK_EVERY_S)
        self._looked = now

    def over(self, now: float) -> bool:
        return now + _LEAST_S >= self.time

    def exceeded(self, url: str) -> DeadlineExceeded:
        """The error of a call that has to end: the bound that it met, and the remedy."""
        if self._end <= self._stalls:
            return DeadlineExceeded(
                f"the call took longer than its timeout_s of {self._timeout_s:g} s; set a longer one, or none"
            )
        return DeadlineExceeded(
            f"{url} answered no request for {self._stall_timeout_s:g} s; check the server (`sentriton health`), or set "
            "a longer stall_timeout_s"
        )
