"""Writes docs/metrics.md from the code that publishes the metrics."""

from __future__ import annotations

import ast
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

HEAD = """\
# Metrics

This page lists the metrics that a Sentriton server publishes for Prometheus, at `http://127.0.0.1:8002/metrics`. The
same address has [Triton's own metrics][triton]. [Monitoring](monitoring.md) shows how to use the metrics in queries,
and [Deploy](../docker/README.md#monitoring) has a dashboard and alerts. `make docs` writes this page from the code.

[triton]: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html

## Server

The models of the server publish these metrics, which are at most one second old. A row is one text, and a
[lane](decisions/lanes.md) is a queue:
"""
STAND_IN = """
`sentriton_batches_total` also has its old name `sentriton_steps_total` until the next release. Servers of release 0.1
publish only the old name.

## Stand-in backend

If Triton has no libtorch backend, as that of pip, a Python program takes its place: the [stand-in](stock-backend.md).
Only this program publishes the following metric. No dashboard or alert needs it:
"""
GATEWAY = """
## Gateway

The [gateway](gateway.md) publishes these metrics at its own address, `http://127.0.0.1:8080/metrics`:
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
    """The content of docs/metrics.md."""
    server = [*of_embed_tokens(), *of_source(EMBED_TEXT)]
    return f"{HEAD}\n{table(server)}{STAND_IN}\n{table(of_source(STAND_IN_MODEL))}{GATEWAY}\n{table(of_gateway())}"


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


def of_source(file: Path) -> Iterator[Family]:
    """The families of a model's source: calls with a name and a description as literals."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MetricFamily"):
            given = {word.arg: word.value for word in node.keywords}
            kind = ast.unparse(given["kind"]).rpartition(".")[2].lower()
            yield Family(ast.literal_eval(given["name"]), ast.literal_eval(given["description"]), kind)


def of_gateway() -> Iterator[Family]:
    """The families of the gateway's source: name, description and possibly labels as literals."""
    for node in ast.walk(ast.parse(GATEWAY_METRICS.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (kind := ast.unparse(node.func)) in ("Counter", "Gauge", "Histogram"):
            name, description, *labels = map(ast.literal_eval, node.args)
            family = Family(f"{name}_total" if kind == "Counter" else name, description.removesuffix("."), kind.lower())
            family.labels = {label: [] for label in labels[0]} if labels else {}
            yield family


def table(families: Iterable[Family]) -> str:
    """A table in Markdown, by name."""
    lines = [
        f"| `{family.name}` | {family.kind} | {words(family.labels)} | {family.description}. |\n"
        for family in sorted(families, key=lambda family: family.name)
    ]
    return "| metric | type | labels | meaning |\n|---|---|---|---|\n" + "".join(lines)


def words(labels: dict[str, list[str]]) -> str:
    """Labels with their values, if the code defines them."""
    fixed = {label: dict.fromkeys(values) for label, values in labels.items() if label not in ("le", "process")}
    return "; ".join(f"`{label}`: {', '.join(fixed[label])}" if fixed.get(label) else f"`{label}`" for label in labels)
