"""How long to wait before a process is started again, and when to give it up."""

from __future__ import annotations

from dataclasses import dataclass

_STABLE_S = 60.0  # a process that served this long did not fail because of how it was started
# A start takes some seconds, so with this a small model recovers within 15 s.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 2.0


@dataclass
class RestartPolicy:
    """The pause before the next start, and the limit: `restarts` in a row of a process that did not serve for a minute.
    Pauses grow while starts fail; one that served restarts after the first pause.
    """

    restarts: int
    in_a_row: int = 0
    failed_starts: int = 0

    def pause_s(self, served_s: float) -> float | None:
        """Seconds to wait before the next start, after a process that served for `served_s` (0: it did not start).
        None: give up.
        """
        self.in_a_row = self.in_a_row + 1 if served_s < _STABLE_S else 1
        self.failed_starts = 0 if served_s > 0 else self.failed_starts + 1
        if self.in_a_row > self.restarts:
            return None
        return float(min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** max(0, self.failed_starts - 1)))
