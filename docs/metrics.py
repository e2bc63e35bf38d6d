"""The page of metrics, docs/metrics.md, from the code that publishes them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentriton_gateway.metrics import GatewayMetrics

ROOT = Path(__file__).resolve().parents[1]
SERVER_FILES = ("model_repository/embed_tokens/1/metrics.py", "model_repository/embed_text/1/model.py")
STAND_IN_FILE = "server_config/backends/pytorch/model.py"
# Counters by the endings of their names, as Prometheus has them.
COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")

HEAD = """\
# Metrics

`make docs` writes this page from the code. The server publishes these metrics beside
[Triton's](https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html), at
`http://127.0.0.1:8002/metrics`. They are at most one second old. [Monitoring](monitoring.md) has queries, and
[Deploy](../docker/README.md#monitoring) has the labels, the dashboard and the alerts.

A row is one text. `lane` is `query`, `bulk` or `canary`.

## Server
"""
STAND_IN = """
## Stand-in backend

Only the [stand-in](stock-backend.md) publishes this metric. No dashboard or alert needs it.
"""
GATEWAY = """
## Gateway

The [gateway](gateway.md) publishes these at its own `/metrics`:
"""


@dataclass(frozen=True)
class Metric:
    """A family of metrics: its name, type and description."""

    name: str
    kind: str
    description: str


def metrics_page() -> str:
    """The content of docs/metrics.md."""
    server = [metric for file in SERVER_FILES for metric in published(ROOT / file)]
    stand_in = list(published(ROOT / STAND_IN_FILE))
    return f"{HEAD}\n{table(server)}{STAND_IN}\n{table(stand_in)}{GATEWAY}\n{table(gateway())}"


def published(file: Path) -> Iterator[Metric]:
    """The metrics of a model's source: a name in a literal, and its description as the next one."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        words = [part.value for part in _parts(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if len(words) > 1 and words[0].startswith("sentriton_") and " " in words[1]:
            kind = "counter" if words[0].endswith(COUNTER_ENDINGS) else "gauge"
            yield Metric(words[0], kind, f"{words[1]}.")


def _parts(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Tuple):
        return node.elts
    if isinstance(node, ast.Call):
        return [*node.args, *(keyword.value for keyword in node.keywords)]
    return []


def gateway() -> Iterator[Metric]:
    """The metrics of the gateway's registry."""
    for family in GatewayMetrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield Metric(name, family.type, family.documentation)


def table(metrics: Iterator[Metric] | list[Metric]) -> str:
    """A table in Markdown, by name."""
    rows = sorted(metrics, key=lambda metric: metric.name)
    lines = [f"| `{metric.name}` | {metric.kind} | {metric.description} |\n" for metric in rows]
    return "| metric | type | meaning |\n|---|---|---|\n" + "".join(lines)
