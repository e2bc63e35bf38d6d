"""The pauses before restarts of a process, and their limit."""

from __future__ import annotations

from dataclasses import dataclass

_STABLE_S = 60.0  # the failure of a process that served this long is not that of its start
# A start takes some seconds, so with these pauses a small model recovers within 15 s.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 2.0


@dataclass
class RestartPolicy:
    """At most `restarts` restarts in a row of a process that serves for less than a minute. The pauses grow while
    starts fail. A process that served is restarted after the first pause.
    """

    restarts: int
    in_a_row: int = 0
    failed_starts: int = 0

    def pause_s(self, served_s: float) -> float | None:
        """Seconds to wait before the next start, after a process that served for `served_s` (0: it did not start). None
        at the limit.
        """
        self.in_a_row = self.in_a_row + 1 if served_s < _STABLE_S else 1
        self.failed_starts = 0 if served_s > 0 else self.failed_starts + 1
        if self.in_a_row > self.restarts:
            return None
        return float(min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** max(0, self.failed_starts - 1)))
