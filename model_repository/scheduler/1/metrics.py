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
    """Counters, changed with what they count, and gauges, set now and then. Each change is a message to Triton, so they
    are made once a step and not once a row.
    """

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
        self._canary_family = self._family(
            gauge, "sentriton_canary_timestamp_seconds", "Unix time of the last canary that was answered"
        )
        self._canary: Any = None  # there is no series before the first one
        self._memory_family = self._family(
            gauge, "sentriton_process_resident_memory_bytes", "Resident memory of Triton and of each Python model"
        )
        self._memory: dict[str, Any] = {}

    def started(self, step: Step) -> None:
        """A step leaves."""
        now = time.monotonic()
        lane, rows = step.rows[0].request.lane, step.rows
        tokens = sum(row.length for row in rows)
        with self._changing:
            self._steps[lane].increment(1)
            self._rows[lane].increment(len(rows))
            self._waited[lane].increment(sum(now - row.request.arrived for row in rows))
            self._tokens["token"].increment(tokens)
            self._tokens["padding"].increment(len(rows) * max(row.length for row in rows) - tokens)

    def refused(self, reason: str) -> None:
        with self._changing:
            self._refused[reason].increment(1)

    def canary_answered(self) -> None:
        with self._changing:
            if self._canary is None:
                self._canary = self._canary_family.Metric(labels={})
            self._canary.set(time.time())

    def waiting(self, rows: dict[str, int]) -> None:
        """Rows that wait, by lane."""
        with self._changing:
            for lane, count in rows.items():
                self._waiting[lane].set(count)

    def memory(self, resident_bytes: dict[str, int]) -> None:
        """Resident bytes by process; one that is gone has 0."""
        with self._changing:
            for process in resident_bytes.keys() - self._memory.keys():
                self._memory[process] = self._memory_family.Metric(labels={"process": process})
            for process, metric in self._memory.items():
                metric.set(resident_bytes.get(process, 0))

    def _by_label(self, kind: Any, name: str, description: str, label: str, values: Sequence[str]) -> dict[str, Any]:
        family = self._family(kind, name, description)
        return {value: family.Metric(labels={label: value}) for value in values}

    def _family(self, kind: Any, name: str, description: str) -> Any:
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)
        return family
