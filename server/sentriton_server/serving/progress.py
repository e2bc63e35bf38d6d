"""Reads the work of each part on the canary's path from the Prometheus metrics, to tell a slow part from a hung one."""

from __future__ import annotations

import http.client
import re

# The counters of each part. At least one of them grows while the part works.
_PART_COUNTERS = {
    "embed_text": ("sentriton_tokenized_rows_total",),
    # embed_batch has no process, since embed_tokens calls it.
    "embed_tokens": ('nv_inference_exec_count{model="embed_batch"', "sentriton_rows_total"),
    "encoder": ('nv_inference_exec_count{model="encoder"',),
    "pooling": ('nv_inference_exec_count{model="pooling"',),
}
# The canary's rows that left the queue. Their batch goes to the encoder and then to pooling.
_CANARY = "canary"
_COUNTERS = {**_PART_COUNTERS, _CANARY: ('sentriton_rows_total{lane="canary"',)}
_VALUE = re.compile(r" ([0-9.e+]+)$")


def read_work(host: str, port: int, timeout_s: float) -> dict[str, float]:
    """The work of each part and of the canary since Triton's start, by name. Raises `OSError` if the metrics cannot be
    read.
    """
    # http.client, because urllib would use a proxy.
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        return parse_work(connection.getresponse().read().decode())
    except (http.client.HTTPException, ValueError) as error:  # invalid UTF-8 or an invalid number
        raise OSError(f"no metrics from {host}:{port}: {error}") from error
    finally:
        connection.close()


def parse_work(metrics: str) -> dict[str, float]:
    """The work of each part and of the canary, from the text of the metrics."""
    work = dict.fromkeys(_COUNTERS, 0.0)
    for line in metrics.splitlines():
        for part, counters in _COUNTERS.items():
            if line.startswith(counters) and (value := _VALUE.search(line)):
                work[part] += float(value[1])
    return work


def stalled(before: dict[str, float] | None, after: dict[str, float] | None) -> list[str]:
    """The parts without progress between two readings. If a reading failed (None), all parts count as stalled.

    Pooling has no work while the canary waits behind batches of token embeddings. So it counts as stalled only once
    the canary has left the queue.
    """
    if before is None or after is None:
        return list(_PART_COUNTERS)
    still = [name for name in _COUNTERS if after[name] <= before[name]]
    excused = {_CANARY, "pooling"} if _CANARY in still else {_CANARY}
    return [name for name in still if name not in excused]
