"""The outcomes of requests, as Prometheus metrics beside Triton's own."""

from __future__ import annotations

import bisect
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .request import CANARY_LANE, Request
from .scheduler import Batch

POSITION_KINDS = ("token", "padding")
REFUSAL_REASONS = ("invalid", "full", "expired", "cancelled", "failed", "not_finite")
# Upper bounds of the buckets that answered requests are counted in.
LATENCY_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
# The names that metrics had in release 0.1, beside those that they have now. The release after this one drops them.
OLD_NAMES = {"sentriton_batches_total": "sentriton_steps_total"}


class Level:
    """A part of a gauge: every instance of embed_tokens has its own, and the gauge is their sum."""

    def __init__(self, gauge: Any) -> None:
        self._gauge, self._value = gauge, 0.0

    def set(self, value: float) -> None:
        if value != self._value:
            self._gauge.increment(value - self._value)
        self._value = value


class Metrics:
    """Counters and gauges. Each change of a metric is a message to Triton and back, for a tenth of a millisecond. A
    request would wait for it, so counts are kept here, and `publish` hands over their totals.

    Latencies are a Prometheus histogram in all but its type, which Triton 24.10 does not have; `histogram_quantile`
    does not mind.
    """

    def __init__(self, lanes: Sequence[str], *, pads: bool = True, row_cache: bool) -> None:
        self._pads = pads
        counter, gauge = pb_utils.MetricFamily.COUNTER, pb_utils.MetricFamily.GAUGE
        # A family must live as long as its metrics.
        self._families: list[Any] = []
        self._counting = threading.Lock()
        self._counters: dict[tuple[str, ...], list[Any]] = {}  # each under all its names
        self._counts: defaultdict[tuple[str, ...], float] = defaultdict(float)  # since they were last published
        for name, description, label, values in (
            ("sentriton_row_wait_seconds_total", "Seconds that rows waited for their turn", "lane", lanes),
            ("sentriton_rows_total", "Rows that had their turn", "lane", lanes),
            ("sentriton_batches_total", "Batches of rows", "lane", lanes),
            (
                "sentriton_positions_total",
                "Tokens of batches, and padding that attention on an older GPU adds",
                "kind",
                POSITION_KINDS,
            ),
            ("sentriton_requests_total", "Requests, whether they succeed or fail", "lane", lanes),
            ("sentriton_refused_requests_total", "Requests answered with an error", "reason", REFUSAL_REASONS),
            ("sentriton_request_seconds_sum", "Seconds that answered requests took", "lane", lanes),
            ("sentriton_request_seconds_count", "Answered requests", "lane", lanes),
        ):
            for value in values:
                self._counters[name, value] = []
            for published in filter(None, (name, OLD_NAMES.get(name))):
                family = self._family(counter, published, description)
                for value in values:
                    self._counters[name, value].append(family.Metric(labels={label: value}))
        buckets = self._family(
            counter, "sentriton_request_seconds_bucket", "Answered requests that took at most `le` seconds"
        )
        self._bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
        for lane in lanes:
            for bound in self._bounds:
                labels = {"lane": lane, "le": bound}
                self._counters["sentriton_request_seconds_bucket", lane, bound] = [buckets.Metric(labels=labels)]
        waiting = self._family(gauge, "sentriton_waiting_rows", "Rows waiting for their turn")
        self._waiting = {lane: Level(waiting.Metric(labels={"lane": lane})) for lane in lanes}
        self._canary_family = self._family(
            gauge, "sentriton_canary_timestamp_seconds", "Unix time of the last canary that was answered"
        )
        self._canary: Any = None  # no series exists before the first one
        self._canary_answered: float | None = None
        self._memory_family = self._family(
            gauge, "sentriton_process_resident_memory_bytes", "Resident memory of Triton and of each Python model"
        )
        self._memory: dict[str, Any] = {}
        self._cache: Any = None
        if row_cache:
            found = self._family(counter, "sentriton_cached_rows_total", "Rows found in the row cache")
            for lane in lanes:
                self._counters["sentriton_cached_rows_total", lane] = [found.Metric(labels={"lane": lane})]
            size = self._family(gauge, "sentriton_row_cache_bytes", "Memory that the row cache's entries take")
            self._cache = Level(size.Metric(labels={}))

    def came(self, lane: str, requests: int) -> None:
        """Requests for a lane are here."""
        with self._counting:
            self._counts["sentriton_requests_total", lane] += requests

    def found(self, lane: str, rows: int) -> None:
        """Rows were in the row cache."""
        with self._counting:
            self._counts["sentriton_cached_rows_total", lane] += rows

    def started(self, batch: Batch) -> None:
        """A batch leaves."""
        now = time.monotonic()
        lane, rows = batch.lane, batch.rows
        tokens = sum(row.length for row in rows)
        with self._counting:
            self._counts["sentriton_batches_total", lane] += 1
            self._counts["sentriton_rows_total", lane] += len(rows)
            self._counts["sentriton_row_wait_seconds_total", lane] += sum(now - row.request.arrived for row in rows)
            self._counts["sentriton_positions_total", "token"] += tokens
            padding = len(rows) * max(row.length for row in rows) - tokens if self._pads else 0
            self._counts["sentriton_positions_total", "padding"] += padding

    def answered(self, request: Request, requests: int) -> None:
        """A request gets its embeddings; it may be several `requests` in one."""
        lane, seconds = request.lane, time.monotonic() - request.arrived
        first = bisect.bisect_left(LATENCY_BOUNDS_S, seconds)
        with self._counting:
            self._counts["sentriton_request_seconds_sum", lane] += requests * seconds
            self._counts["sentriton_request_seconds_count", lane] += requests
            self._counts["sentriton_request_seconds_bucket", lane, self._bounds[first]] += requests
            if lane == CANARY_LANE:
                self._canary_answered = time.time()

    def refused(self, reason: str, requests: int) -> None:
        """Requests are answered with an error."""
        with self._counting:
            self._counts["sentriton_refused_requests_total", reason] += requests

    def publish(self, waiting: dict[str, int], resident_bytes: dict[str, int], cache_bytes: int) -> None:
        """Hand over all counts, the waiting rows by lane, resident bytes by process (0 for one that has ended), and the
        row cache's bytes. Called by one thread: Triton 24.10 crashed when two changed metrics at once.
        """
        with self._counting:
            counts, self._counts = self._counts, defaultdict(float)
            # Once: another instance may answer the next.
            canary, self._canary_answered = self._canary_answered, None
        for key, count in self._accumulated(counts).items():
            for metric in self._counters[key]:
                metric.increment(count)
        for lane, rows in waiting.items():
            self._waiting[lane].set(rows)
        if canary is not None:
            if self._canary is None:
                self._canary = self._canary_family.Metric(labels={})
            self._canary.set(canary)
        if self._cache is not None:
            self._cache.set(cache_bytes)
        for process in resident_bytes.keys() - self._memory.keys():
            self._memory[process] = self._memory_family.Metric(labels={"process": process})
        for process, metric in self._memory.items():
            metric.set(resident_bytes.get(process, 0))

    def _accumulated(self, counts: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
        """The counts with every bucket's own and those of the buckets below it, as a histogram of Prometheus has
        them."""
        result = {key: count for key, count in counts.items() if len(key) == 2}
        for _, lane in {key[:2] for key in counts if len(key) == 3}:
            keys = [("sentriton_request_seconds_bucket", lane, bound) for bound in self._bounds]
            result.update(zip(keys, np.cumsum([counts.get(key, 0.0) for key in keys]).tolist(), strict=True))
        return {key: count for key, count in result.items() if count}

    def _family(self, kind: Any, name: str, description: str) -> Any:
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)
        return family
