"""What pooling alone sees of every request, as Prometheus metrics beside Triton's own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray


class Measures:
    """Counters since the start. Telling Triton costs a message each, so `publish` does it once a batch."""

    def __init__(self) -> None:
        # The families must live as long as their metrics.
        self._families = {
            name: pb_utils.MetricFamily(name, description, pb_utils.MetricFamily.COUNTER)
            for name, description in (
                ("sentriton_positions_total", "Token positions of embedded rows, padding apart"),
                ("sentriton_refused_requests_total", "Requests that pooling refused"),
            )
        }
        series = [("sentriton_positions_total", "kind", value) for value in ("token", "padding")]
        series += [("sentriton_refused_requests_total", "code", value) for value in ("INVALID_ARGUMENT", "INTERNAL")]
        self._metrics = {value: self._families[name].Metric(labels={label: value}) for name, label, value in series}
        self._pending: Counter[str] = Counter()

    def embedded(self, attention_mask: NDArray[np.int64]) -> None:
        """A request of this mask, [rows, length], was answered."""
        tokens = int(np.count_nonzero(attention_mask))
        self._pending.update(token=tokens, padding=attention_mask.size - tokens)

    def refused(self, code: Any) -> None:
        """A request was refused with this code of `pb_utils.TritonError`."""
        self._pending["INVALID_ARGUMENT" if code == pb_utils.TritonError.INVALID_ARG else "INTERNAL"] += 1

    def publish(self) -> None:
        for name, number in self._pending.items():
            if number:
                self._metrics[name].increment(number)
        self._pending.clear()
