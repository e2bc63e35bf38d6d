"""What the scheduler does, as Prometheus metrics beside Triton's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import triton_python_backend_utils as pb_utils
from scheduling import Step

KINDS = ("token", "padding")
REASONS = ("invalid", "full", "expired", "failed", "not_finite")


class Metrics:
    """Counters and gauges; each change is a message to Triton, so they are made once a step and not once a row."""

    def __init__(self, lanes: Sequence[str]) -> None:
        counter, gauge = pb_utils.MetricFamily.COUNTER, pb_utils.MetricFamily.GAUGE
        # A family must live as long as its metrics.
        self._families: list[Any] = []
        # Seen on Triton 24.10: metrics changed by two threads at once crash the server.
        self._changing = threading.Lock()
        self._waiting = self._by_label(gauge, "sentriton_waiting_rows", "Rows waiting for their turn", "lane", lanes)
        self._waited = self._by_label(
            counter, "sentriton_row_wait_seconds_total", "Seconds that rows waited for their turn", "lane", lanes
        )
        self._rows = self._by_label(counter, "sentriton_rows_total", "Rows that had their turn", "lane", lanes)
        self._steps = self._by_label(counter, "sentriton_steps_total", "Steps of rows", "lane", lanes)
        self._tokens = self._by_label(
            counter, "sentriton_positions_total", "Places of a step's rows that hold tokens, or padding", "kind", KINDS
        )
        self._refused = self._by_label(
            counter, "sentriton_refused_requests_total", "Requests answered with an error", "reason", REASONS
        )

    def started(self, step: Step, waiting: dict[str, int]) -> None:
        """A step leaves; `waiting` rows stay in each lane."""
        with self._changing:
            self._started(step, waiting)

    def _started(self, step: Step, waiting: dict[str, int]) -> None:
        now = time.monotonic()
        lane, rows = step.rows[0].request.lane, step.rows
        tokens = sum(row.length for row in rows)
        self._steps[lane].increment(1)
        self._rows[lane].increment(len(rows))
        self._waited[lane].increment(sum(now - row.request.arrived for row in rows))
        self._tokens["token"].increment(tokens)
        self._tokens["padding"].increment(len(rows) * max(row.length for row in rows) - tokens)
        for name, count in waiting.items():
            self._waiting[name].set(count)

    def refused(self, reason: str) -> None:
        with self._changing:
            self._refused[reason].increment(1)

    def _by_label(self, kind: Any, name: str, description: str, label: str, values: Sequence[str]) -> dict[str, Any]:
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)
        return {value: family.Metric(labels={label: value}) for value in values}
