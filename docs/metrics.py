"""Writes docs/metrics.md from the code that publishes the metrics."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

from sentriton_server.resources import load_model_code

ROOT = Path(__file__).resolve().parents[1]
EMBED_TEXT = ROOT / "model_repository/embed_text/1/model.py"
STAND_IN_MODEL = ROOT / "server_config/backends/pytorch/model.py"
GATEWAY_METRICS = ROOT / "gateway/sentriton_gateway/metrics.py"
BACKEND = "triton_python_backend_utils"

# A line in braces becomes the table of the metrics that it names.
PAGE = """\
# Metrics

<!-- `make docs` writes this page from docs/metrics.py and the code that publishes the metrics. -->

This page lists the Prometheus metrics of a Sentriton server and its gateway. [Monitoring](monitoring.md) shows how to
use them in queries, alerts and a dashboard. These are the default addresses:

| process | address |
|---|---|
| server | `http://127.0.0.1:8002/metrics`, together with [Triton's own metrics][triton] |
| [gateway](#gateway), if you start it | `http://127.0.0.1:8080/metrics` |

[triton]: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html

Each line of the response has a metric, its labels and its value, such as `sentriton_requests_total{lane="query"} 128`.

The tables use two terms:

- **Row.** A row is one text of a request.
- **Lane.** A [lane](decisions/lanes.md) is a queue of the server. `query` is the default, and `bulk` is for work that
  may wait. `canary` is for the server's own health checks and its [warm-up](decisions/warm-up.md).

Requests for token embeddings count as `bulk`, and so do requests with more than 16 KiB of text.

The server updates its metrics every second, and the memory of its processes every 5 seconds.

## Requests

These metrics count the requests for embeddings, and measure their time. The time runs from the arrival of a request at
its model until the answer is ready. It includes the wait in the lanes, but not the network. The model is `embed_text`
for text, and `embed_tokens` for token ids:

{sentriton_requests_total sentriton_refused_requests_total sentriton_request_seconds_bucket
sentriton_request_seconds_sum sentriton_request_seconds_count}

A request succeeds if the answer has vectors. The label `reason` names the cause of a failure:

| `reason` | cause |
|---|---|
| `invalid` | The request is invalid, its text is too large, or it names the fingerprint of another model. |
| `full` | The lane or its text queue is full, the wait is too long, or too many token embeddings are in progress. |
| `expired` | The request waited in the lane for longer than its time limit. |
| `cancelled` | The caller cancelled the request while it waited in the lane. |
| `failed` | A model of the server failed, or the server stops or restarts. |
| `not_finite` | The model gave a vector with NaN or infinity for valid input. |

The buckets are counters, because Triton 24.10 has no histograms. Prometheus's `histogram_quantile` accepts them. These
are their bounds (`le`) in seconds:

`BOUNDS`

A request counts once, even if `embed_text` passes it on to `embed_tokens`. Only after an internal error may it count
twice.

Requests that Triton itself rejects do not count, such as those with a wrong access key or a wrong shape.

## Rows and batches

Rows wait in a lane until the encoder computes them in batches. Before that, text waits in a lane of `embed_text`, until
the server tokenizes it:

{sentriton_rows_total sentriton_row_wait_seconds_total sentriton_waiting_rows sentriton_batches_total
sentriton_positions_total sentriton_tokenized_rows_total}

`sentriton_positions_total` with `kind="padding"` shows the most padding that can occur. It is 0 with the C++ operators
and with the kernels of a GPU, which do not pad.

`sentriton_tokenized_rows_total` does not count the rows of the Python client and of the gateway, because they send
tokens.

## Row cache

Only a server with a [row cache](../docker/sizing.md#row-cache) has these metrics:

{sentriton_cached_rows_total sentriton_row_cache_bytes}

Cached rows skip the encoder, so `sentriton_rows_total` does not count them.

## Health and memory

These metrics show when the server last passed its own health check, the canary, and how much memory it uses:

{sentriton_canary_timestamp_seconds sentriton_process_resident_memory_bytes}

The time of the canary is absent until a canary has succeeded. The label `process` is `tritonserver`, or the instance of
a Python model, such as `embed_tokens_0_0`. After a process has ended, its value is 0.

## Stand-in

The [stand-in](stock-backend.md) is the Python program that runs the encoder on a Triton without the libtorch backend,
such as the Triton that pip installs. Only the stand-in has this metric, whose label `model` is `encoder`:

{sentriton_encoder_elements_total}

## Gateway

The [gateway](gateway.md) counts only requests whose path begins with `/v1/`. It publishes each change at once:

{sentriton_gateway_requests_total sentriton_gateway_request_duration_seconds sentriton_gateway_requests_in_progress
sentriton_gateway_body_bytes sentriton_gateway_inputs_total sentriton_gateway_tokens_total}

The label `status` is the HTTP status, or 499 if the caller disconnected before the answer. The label `path` is
`/v1/embeddings`, `/v1/models` or `/v1/models/{model:path}`. Other paths below `/v1/` count as `other`. So do requests
that the gateway rejects before it routes them, such as those with a wrong key.

## Former name

In release 0.1, `sentriton_batches_total` had the name `sentriton_steps_total`. The server publishes it under both names
until [release 0.3](compatibility.md#promises).
"""


@dataclass
class Family:
    """A family of metrics. It replaces Triton's `MetricFamily`, and keeps the labels of its metrics."""

    COUNTER: ClassVar[str] = "counter"
    GAUGE: ClassVar[str] = "gauge"

    name: str
    description: str
    kind: str
    labels: dict[str, list[str]] = field(default_factory=dict)

    def Metric(self, labels: dict[str, str]) -> SimpleNamespace:  # noqa: N802
        """A metric that counts nothing."""
        for label, value in labels.items():
            self.labels.setdefault(label, []).append(value)
        return SimpleNamespace(increment=lambda value: None, set=lambda value: None)


def metrics_page() -> str:
    """The content of docs/metrics.md. Raises `KeyError` if the page names a metric that the code does not have."""
    families = {
        family.name: family
        for found in (of_embed_tokens(), of_source(EMBED_TEXT), of_source(STAND_IN_MODEL), of_gateway())
        for family in found
    }
    bounds = dict.fromkeys(families["sentriton_request_seconds_bucket"].labels["le"])
    page = PAGE.replace("BOUNDS", ", ".join(f"{float(bound):g}" for bound in bounds if bound != "+Inf") + ", +Inf")
    page = re.sub(r"^\{([^}]*)\}\n", lambda names: table(map(families.pop, names[1].split())), page, flags=re.MULTILINE)
    if families:
        raise ValueError(f"the page has no place for {', '.join(families)}; name them in {__file__}")
    return page


def of_embed_tokens() -> list[Family]:
    """The families of the model, with their current names."""
    families: list[Family] = []

    class Kept(Family):
        def __init__(self, name: str, description: str, kind: str) -> None:
            super().__init__(name, description, kind)
            families.append(self)

    backend: Any = ModuleType(BACKEND)
    backend.MetricFamily = Kept
    before = sys.modules.get(BACKEND)
    sys.modules[BACKEND] = backend
    try:
        code: Any = load_model_code("embed_tokens", "metrics")
    finally:
        sys.modules.pop(BACKEND) if before is None else sys.modules.update({BACKEND: before})
    code.pb_utils = backend
    lanes = load_model_code("embed_tokens", "request").LANES
    code.Metrics(lanes, row_cache=True).publish(dict.fromkeys(lanes, 0), {"triton": 0}, 0)
    return [family for family in families if family.name not in code.OLD_NAMES.values()]


def of_source(file: Path) -> Iterable[Family]:
    """The families of a model's source: calls with a name and a description as literals, and their metrics' labels."""
    families: dict[str, Family] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Assign([target], ast.Call() as call) if ast.unparse(call.func).endswith("MetricFamily"):
                given = {word.arg: word.value for word in call.keywords}
                kind = ast.unparse(given["kind"]).rpartition(".")[2].lower()
                name, description = (ast.literal_eval(given[word]) for word in ("name", "description"))
                families[ast.unparse(target)] = Family(name, description, kind)
            case ast.Call(ast.Attribute(family, "Metric"), [], [ast.keyword("labels", ast.Dict(labels))]):
                families[ast.unparse(family)].labels = {ast.literal_eval(label): [] for label in labels if label}
    return families.values()


def of_gateway() -> Iterator[Family]:
    """The families of the gateway's source: name, description and possibly labels as literals."""
    for node in ast.walk(ast.parse(GATEWAY_METRICS.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (kind := ast.unparse(node.func)) in ("Counter", "Gauge", "Histogram"):
            name, description, *labels = map(ast.literal_eval, node.args)
            family = Family(f"{name}_total" if kind == "Counter" else name, description.removesuffix("."), kind.lower())
            family.labels = {label: [] for label in labels[0]} if labels else {}
            yield family


def table(families: Iterable[Family]) -> str:
    """A table in Markdown."""
    lines = [
        f"| `{family.name}` | {family.kind} | {words(family.labels)} | {family.description}. |\n" for family in families
    ]
    return "| metric | type | labels | meaning |\n|---|---|---|---|\n" + "".join(lines)


def words(labels: dict[str, list[str]]) -> str:
    """Labels with their values, if the code defines them."""
    fixed = {label: dict.fromkeys(values) for label, values in labels.items() if label not in ("le", "process")}
    return "; ".join(f"`{label}`: {', '.join(fixed[label])}" if fixed.get(label) else f"`{label}`" for label in labels)
