"""Tells slow from dead: the work of each part on the canary's path so far, by the server's Prometheus metrics."""

from __future__ import annotations

import http.client
import re

# Of each part the counters that grow while it works; one that grows is enough.
_PART_COUNTERS = {
    "embed_text": ("sentriton_tokenized_rows_total",),
    # embed_batch has no process of its own: embed_tokens calls it.
    "embed_tokens": ('nv_inference_exec_count{model="embed_batch"', "sentriton_rows_total"),
    "encoder": ('nv_inference_exec_count{model="encoder"',),
    "pooling": ('nv_inference_exec_count{model="pooling"',),
}
# The canary's rows that had their turn: a batch of sentences, which goes to the encoder and then to pooling.
_CANARY = "canary"
_COUNTERS = {**_PART_COUNTERS, _CANARY: ('sentriton_rows_total{lane="canary"',)}
_VALUE = re.compile(r" ([0-9.e+]+)$")


def read_work(host: str, port: int, timeout_s: float) -> dict[str, float]:
    """The work of each part since Triton's start, by the part's name, and of the canary. Raises `OSError` without an
    answer that can be read.
    """
    # No urllib: it would ask a proxy.
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        return parse_work(connection.getresponse().read().decode())
    except (http.client.HTTPException, ValueError) as error:  # no UTF-8, or no number
        raise OSError(f"no metrics from {host}:{port}: {error}") from error
    finally:
        connection.close()


def parse_work(metrics: str) -> dict[str, float]:
    """The same from the metrics' text."""
    work = dict.fromkeys(_COUNTERS, 0.0)
    for line in metrics.splitlines():
        for part, counters in _COUNTERS.items():
            if line.startswith(counters) and (value := _VALUE.search(line)):
                work[part] += float(value[1])
    return work


def stalled(before: dict[str, float] | None, after: dict[str, float] | None) -> list[str]:
    """The parts that did nothing between two looks. None: a look failed, and all count as stalled.

    Pooling has nothing to do while batches of token embeddings keep the canary waiting; it counts as stalled only once
    the canary had its turn.
    """
    if before is None or after is None:
        return list(_PART_COUNTERS)
    still = [name for name in _COUNTERS if after[name] <= before[name]]
    excused = {_CANARY, "pooling"} if _CANARY in still else {_CANARY}
    return [name for name in still if name not in excused]
