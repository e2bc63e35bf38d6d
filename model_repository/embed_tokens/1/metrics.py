"""The Prometheus metrics that embed_tokens adds to Triton's."""

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
# Upper bounds of the histogram's buckets.
LATENCY_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
# Names of release 0.1, which these metrics have as well. The next release drops them.
OLD_NAMES = {"sentriton_batches_total": "sentriton_steps_total"}


class Level:
    """One instance's part of a gauge. The gauge is the sum over all instances of embed_tokens."""

    def __init__(self, gauge: Any) -> None:
        self._gauge, self._value = gauge, 0.0

    def set(self, value: float) -> None:
        if value != self._value:
            self._gauge.increment(value - self._value)
        self._value = value


class Metrics:
    """Counters and gauges. Each change of a metric is a message to Triton and back, which takes 0.1 ms. To spare
    requests this time, the counts are kept here, and `publish` sends the totals.

    Triton 24.10 has no type for histograms, so the buckets of latencies are counters. `histogram_quantile` accepts
    them.
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
            ("sentriton_row_wait_seconds_total", "Seconds that rows waited, as text or as tokens", "lane", lanes),
            ("sentriton_rows_total", "Rows sent to the encoder", "lane", lanes),
            ("sentriton_batches_total", "Batches sent to the encoder", "lane", lanes),
            (
                "sentriton_positions_total",
                "Tokens sent to the encoder, and padding up to the longest row of each batch",
                "kind",
                POSITION_KINDS,
            ),
            ("sentriton_requests_total", "Requests that arrived, whether they succeed or fail", "lane", lanes),
            ("sentriton_refused_requests_total", "Requests that failed, by cause", "reason", REFUSAL_REASONS),
            ("sentriton_request_seconds_sum", "Seconds that the successful requests took", "lane", lanes),
            ("sentriton_request_seconds_count", "Requests that succeeded", "lane", lanes),
        ):
            for value in values:
                self._counters[name, value] = []
            for published in filter(None, (name, OLD_NAMES.get(name))):
                family = self._family(counter, published, description)
                for value in values:
                    self._counters[name, value].append(family.Metric(labels={label: value}))
        buckets = self._family(
            counter, "sentriton_request_seconds_bucket", "Requests that succeeded within `le` seconds"
        )
        self._bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
        for lane in lanes:
            for bound in self._bounds:
                labels = {"lane": lane, "le": bound}
                self._counters["sentriton_request_seconds_bucket", lane, bound] = [buckets.Metric(labels=labels)]
        waiting = self._family(gauge, "sentriton_waiting_rows", "Rows now waiting in a lane, as text or as tokens")
        self._waiting = {lane: Level(waiting.Metric(labels={"lane": lane})) for lane in lanes}
        self._canary_family = self._family(
            gauge, "sentriton_canary_timestamp_seconds", "Unix time of the last canary that succeeded"
        )
        self._canary: Any = None  # the series begins with the first canary
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
            size = self._family(gauge, "sentriton_row_cache_bytes", "Bytes of the entries in the row cache")
            self._cache = Level(size.Metric(labels={}))

    def came(self, lane: str, requests: int) -> None:
        """Count arrived requests of a lane."""
        with self._counting:
            self._counts["sentriton_requests_total", lane] += requests

    def found(self, lane: str, rows: int) -> None:
        """Count rows that were in the row cache."""
        with self._counting:
            self._counts["sentriton_cached_rows_total", lane] += rows

    def started(self, batch: Batch) -> None:
        """Count a batch that leaves."""
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
        """Count an answered request, which may be several `requests` in one."""
        lane, seconds = request.lane, time.monotonic() - request.arrived
        first = bisect.bisect_left(LATENCY_BOUNDS_S, seconds)
        with self._counting:
            self._counts["sentriton_request_seconds_sum", lane] += requests * seconds
            self._counts["sentriton_request_seconds_count", lane] += requests
            self._counts["sentriton_request_seconds_bucket", lane, self._bounds[first]] += requests
            if lane == CANARY_LANE:
                self._canary_answered = time.time()

    def refused(self, reason: str, requests: int) -> None:
        """Count requests that are answered with an error."""
        with self._counting:
            self._counts["sentriton_refused_requests_total", reason] += requests

    def publish(self, waiting: dict[str, int], resident_bytes: dict[str, int], cache_bytes: int) -> None:
        """Send all counts, the waiting rows by lane, the resident bytes by process (0 for an ended one), and the row
        cache's bytes. Only one thread may call it, since Triton 24.10 crashes if two threads change metrics.
        """
        with self._counting:
            counts, self._counts = self._counts, defaultdict(float)
            # Published once, since another instance may answer the next canary.
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
        """The counts with cumulative buckets, as in a histogram of Prometheus."""
        result = {key: count for key, count in counts.items() if len(key) == 2}
        for _, lane in {key[:2] for key in counts if len(key) == 3}:
            keys = [("sentriton_request_seconds_bucket", lane, bound) for bound in self._bounds]
            result.update(zip(keys, np.cumsum([counts.get(key, 0.0) for key in keys]).tolist(), strict=True))
        return {key: count for key, count in result.items() if count}

    def _family(self, kind: Any, name: str, description: str) -> Any:
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)
        return family
