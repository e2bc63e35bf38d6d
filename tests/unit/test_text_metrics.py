"""The metrics of embed_text have the names, the labels and the descriptions of embed_tokens, and are added to them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from sentriton_server.resources import load_model_code
from tests.conftest import ROOT

BACKEND = "triton_python_backend_utils"
LANES = ("canary", "query", "bulk")


@dataclass
class Family:
    """Triton's family of metrics. It adds up the values of all of them."""

    COUNTER: ClassVar[str] = "counter"
    GAUGE: ClassVar[str] = "gauge"
    ALL: ClassVar[list[Family]] = []
    VALUES: ClassVar[Counter[str]] = Counter()

    name: str
    description: str
    kind: str

    def Metric(self, labels: dict[str, str]) -> SimpleNamespace:  # noqa: N802
        self.ALL.append(self)
        ((label, value),) = labels.items()
        key = f"{self.name} {label}={value}"
        self.VALUES[key] = 0
        return SimpleNamespace(increment=lambda by: self.VALUES.update({key: by}))


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    backend: Any = ModuleType(BACKEND)
    backend.MetricFamily = Family
    monkeypatch.setitem(sys.modules, BACKEND, backend)
    monkeypatch.setattr(Family, "ALL", [])
    monkeypatch.setattr(Family, "VALUES", Counter())
    yield load_model_code("embed_text", "metrics").Metrics(LANES)
    del sys.modules["sentriton_model_embed_text.metrics"]  # it has this backend


def test_a_refused_request_counts_once_in_its_lane_and_by_its_reason(metrics: Any) -> None:
    metrics.refused("bulk", "full")
    metrics.refused("query", "invalid")
    metrics.refused("query", "full")
    assert not +Family.VALUES
    for _ in range(2):
        metrics.publish(dict.fromkeys(LANES, 0))
        assert +Family.VALUES == {
            "sentriton_requests_total lane=bulk": 1,
            "sentriton_requests_total lane=query": 2,
            "sentriton_refused_requests_total reason=full": 2,
            "sentriton_refused_requests_total reason=invalid": 1,
        }


def test_the_gauge_of_waiting_rows_changes_by_the_text(metrics: Any) -> None:
    for rows in (3, 5, 5, 1, 0):
        metrics.publish({"canary": 0, "query": rows, "bulk": 2 * rows})
        assert Family.VALUES["sentriton_waiting_rows lane=query"] == rows
        assert Family.VALUES["sentriton_waiting_rows lane=bulk"] == 2 * rows


def test_each_metric_is_one_of_embed_tokens(metrics: Any) -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")  # from the code of embed_tokens
    for family in Family.ALL:
        (labels,) = re.findall(
            rf"^\| `{family.name}` \| {family.kind} \| (.*) \| {re.escape(family.description)}\. \|$",
            page,
            re.MULTILINE,
        )
        label, values = re.fullmatch(r"`(\w+)`: (.*)", labels).groups()  # type: ignore[union-attr]
        given = {key.split("=")[1] for key in Family.VALUES if key.startswith(f"{family.name} {label}=")}
        assert given
        assert given <= set(values.split(", "))
