"""Ends a part of a benchmark that takes too long."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# If two limits end together, the inner one has this time to report.
_GRACE_S = 1.0


class OverTime(BaseException):
    """A time limit has passed. Like KeyboardInterrupt it is a BaseException, so that no library catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OverTime` in the main thread after `seconds`. An outer limit stays in force."""

    def end(*_: Any) -> None:
        raise OverTime(f"more than {seconds:.0f} s")

    around_s, _ = signal.getitimer(signal.ITIMER_REAL)
    handler = signal.signal(signal.SIGALRM, end)
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, min(seconds, around_s) if around_s else seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if around_s:
            left_s = around_s - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(left_s, _GRACE_S))
