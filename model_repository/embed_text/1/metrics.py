"""The metrics of requests that do not reach embed_tokens, and of text that waits. They have the names and the labels of
embed_tokens, so Triton adds the values of both models.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import triton_python_backend_utils as pb_utils

REASONS = ("invalid", "full", "expired", "cancelled", "failed")


class Metrics:
    """Counts are kept here, and `publish` sends them, because each change of a metric is a message to Triton and back.
    Every other request counts in embed_tokens, unless Triton itself rejects the call: then it counts nowhere.
    """

    def __init__(self, lanes: Sequence[str]) -> None:
        counter, gauge = pb_utils.MetricFamily.COUNTER, pb_utils.MetricFamily.GAUGE
        # A family must live as long as its metrics.
        self._families = requests, refused, waiting = [
            pb_utils.MetricFamily(name=name, description=description, kind=kind)
            for name, description, kind in (
                ("sentriton_requests_total", "Requests that arrived, whether they succeed or fail", counter),
                ("sentriton_refused_requests_total", "Requests that failed, by cause", counter),
                ("sentriton_waiting_rows", "Rows now waiting in a lane, as text or as tokens", gauge),
            )
        ]
        self._counters = {lane: requests.Metric(labels={"lane": lane}) for lane in lanes}
        self._counters |= {reason: refused.Metric(labels={"reason": reason}) for reason in REASONS}
        self._waiting = {lane: waiting.Metric(labels={"lane": lane}) for lane in lanes}
        self._published_rows = dict.fromkeys(lanes, 0)
        self._counting = threading.Lock()
        self._counts: Counter[str] = Counter()  # by lane and by reason, since they were last published

    def refused(self, lane: str, reason: str) -> None:
        """Count a request that is answered with an error."""
        with self._counting:
            self._counts.update((lane, reason))

    def publish(self, waiting: dict[str, int]) -> None:
        """Send all counts and the rows that wait as text, by lane. Only one thread may call it, as in embed_tokens."""
        with self._counting:
            counts, self._counts = self._counts, Counter()
        for lane_or_reason, count in counts.items():
            self._counters[lane_or_reason].increment(count)
        for lane, rows in waiting.items():
            if rows != self._published_rows[lane]:
                self._waiting[lane].increment(rows - self._published_rows[lane])
        self._published_rows = waiting
