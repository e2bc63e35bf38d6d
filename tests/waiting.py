"""Waits in tests until a condition holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

# Enough for a busy machine, but less than a client's default timeout of 60 s.
SOON_S: Final = 30
_PAUSE_S = 0.005


def until(condition: Callable[[], object], timeout_s: float = SOON_S, what: str = "") -> None:
    """Ask until `condition` holds, and fail with `what`, or the condition's name, once `timeout_s` have passed."""
    for pause_s in _pauses(condition, timeout_s, what):
        time.sleep(pause_s)


async def until_async(condition: Callable[[], object], timeout_s: float = SOON_S, what: str = "") -> None:
    """`until` in an event loop."""
    for pause_s in _pauses(condition, timeout_s, what):
        await asyncio.sleep(pause_s)


def _pauses(condition: Callable[[], object], timeout_s: float, what: str) -> Iterator[float]:
    """Seconds to sleep before each next check. They grow, since a slow condition may be costly to check."""
    end = time.monotonic() + timeout_s
    pause_s = _PAUSE_S
    while not condition():
        left_s = end - time.monotonic()
        assert left_s > 0, what or f"{condition.__qualname__} did not hold within {timeout_s:g} s"
        yield min(pause_s, left_s)
        pause_s = min(1.2 * pause_s, 0.2)
