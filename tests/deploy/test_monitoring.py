"""A real Prometheus scrapes a real server under load.

Every expression of the dashboard, the alerts and the autoscalers has data. Every alert fires once it is provoked.
"""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from sentriton import InvalidInput, SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.tokenization import pack_rows
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository
from tests.deploy.prometheus import Prometheus, prometheus
from tests.hanging import hanging_main_threads
from tests.manifests.files import KUBERNETES, MONITORING, tool
from tests.waiting import until

# Metrics that this server does not have.
ABSENT = ("nv_gpu_", "nv_cache_", "sentriton_cached_rows", "sentriton_row_cache")
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
# Those of the gateway are in tests/manifests/test_monitoring.py.
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "Gateway" not in rule["alert"]}


def dashboard_expressions() -> dict[str, str]:
    """Expressions by panel, with Grafana's variables as a first look at the dashboard has them."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$__rate_interval", "10s")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        for panel in panels
        for target in panel["targets"]
    }


def autoscaler_expressions() -> dict[str, str]:
    """The queries of KEDA and prometheus-adapter."""
    scaled = yaml.safe_load((KUBERNETES / "components/autoscaling-keda/scaledobject.yaml").read_text())
    asked = {f"keda {n}": trigger["metadata"]["query"] for n, trigger in enumerate(scaled["spec"]["triggers"])}
    adapter = yaml.safe_load((KUBERNETES / "components/autoscaling-adapter/adapter-rules.yaml").read_text())
    for rule in adapter["rules"]["custom"]:
        query = (
            rule["metricsQuery"].replace("<<.LabelMatchers>>", 'job="sentriton"').replace("<<.GroupBy>>", "instance")
        )
        asked[rule["name"]["as"]] = query
    return {name: query.replace("[1m]", "[10s]") for name, query in asked.items()}


@pytest.fixture(scope="module")
def server() -> Iterator[TritonServer]:
    repository = prepare_repository(None, precision="fp32", device="cpu")
    with TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0, exit_timeout_s=5)) as running:
        yield running


@pytest.fixture(scope="module")
def monitor(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the shipped configuration and rules, but this target, and minutes made seconds."""
    folder = tmp_path_factory.mktemp("prometheus")
    hasty = re.sub(r"\[\d+m\]", "[10s]", re.sub(r"for: \w+", "for: 1s", (MONITORING / "alerts.yaml").read_text()))
    hasty = hasty.replace("sentriton_canary_timestamp_seconds > 60", "sentriton_canary_timestamp_seconds > 15")
    (folder / "alerts.yaml").write_text(hasty)
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
    job, _ = configuration["scrape_configs"]  # the second one is the gateway's
    configuration["scrape_configs"] = [job]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [server.metrics_url.removeprefix("http://").removesuffix("/metrics")]}]
    with prometheus(tool("prometheus"), configuration, folder) as running:
        yield running


@contextmanager
def load(server: TritonServer) -> Iterator[None]:
    """Callers of both public models and both lanes, and the server's own canary, until the block ends."""
    stop = threading.Event()
    texts = protocol.text_request(["부산에 비가 온다", "비"])

    def work() -> None:
        with SentenceEncoder(server.url) as queries, SentenceEncoder(server.url, priority="bulk") as bulk:
            connection = Connection(server.url)
            while not stop.is_set():
                for encoder in (queries, bulk):
                    encoder.encode([f"{number}번째 {'긴 ' * (number % 7)}문장" for number in range(64)])
                connection.infer(texts, 10)
                server.check(0)
                stop.wait(0.05)
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def has_data(monitor: Prometheus, expression: str) -> bool:
    values = [value for _, value in monitor.query(expression)]
    return bool(values) and np.isfinite(values).all()


def test_every_expression_has_data_under_load_and_no_alert_fires(server: TritonServer, monitor: Prometheus) -> None:
    expressions = {**dashboard_expressions(), **autoscaler_expressions()}
    absent = {name for name, text in expressions.items() if any(part in text for part in ABSENT)}
    assert absent == {"GPU A", "GPU B", "Cache hits A", "Row cache hits A", "Row cache memory A"}
    # This series needs a failure, which the test below causes.
    absent.add("Errors by code B")
    with load(server):
        lacking: list[str] = []

        def all_have_data() -> bool:
            lacking[:] = [
                name for name, text in expressions.items() if name not in absent and not has_data(monitor, text)
            ]
            return not lacking

        try:
            until(all_have_data, 30)
        except AssertionError:
            pytest.fail(f"no data within 30 s: {lacking}")
        for name in absent:
            assert monitor.query(expressions[name]) == [], "it parses, and is empty here"
        assert not monitor.firing()
        now = time.time()
        values = {name: monitor.query(text, now) for name, text in expressions.items() if name not in absent}
    assert values["Mean batch A"][0][1] > 1
    # C++ operators pad nothing, and torch's pad within rows of similar length.
    assert 0 <= values["Padding A"][0][1] < 0.5
    assert 0 <= values["Canary age A"][0][1] < 15
    resident = {labels["process"]: value for labels, value in values["Memory of processes A"]}
    assert {"tritonserver", "encoder_0_0", "embed_tokens_0_0"} <= set(resident)
    assert all(2**20 < value < 2**34 for value in resident.values())
    p50, p95, p99 = (
        {labels["lane"]: seconds for labels, seconds in values[f"Latency by lane {quantile}"]} for quantile in "ABC"
    )
    assert set(p50) == {"query", "bulk"}
    assert all(0 < p50[lane] <= p95[lane] <= p99[lane] < 60 for lane in p50)
    # Both autoscalers get the same value from one server.
    assert values["sentriton_row_wait_seconds"][0][1] == pytest.approx(values["keda 0"][0][1], rel=0.5)
    for name, series in values.items():
        print(f"{name:36} {series[0][1]:.6g}")


def encoders(server: TritonServer) -> list[psutil.Process]:
    """The processes of the encoder: a small one is there once for each core."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if any("/encoder/1/" in part for part in child.cmdline())]


class Alerts:
    """The alerts that fire while a test provokes them: the expected ones and no others."""

    def __init__(self, monitor: Prometheus) -> None:
        self._monitor = monitor
        self.fired: set[str] = set()
        self._lasting: set[str] = set()  # alerts that fire from now on, also while others are provoked

    def expect(self, *alerts: str, provoke: Callable[[], object] = lambda: None, lasting: bool = False) -> None:
        """Wait until none of `alerts` fires, then provoke them again and again until each of them has."""
        until(lambda: self._monitor.firing() <= self._lasting, 40)
        seen: set[str] = set()

        def have_fired() -> bool:
            provoke()
            seen.update(self._monitor.firing())
            return set(alerts) <= seen

        until(have_fired, 40)
        assert seen - self._lasting == set(alerts)
        self.fired |= seen
        if lasting:
            self._lasting |= seen


def test_every_alert_fires_on_its_condition(server: TritonServer, monitor: Prometheus) -> None:
    connection = Connection(server.url)
    longest = server.manifest.max_seq_length
    alerts = Alerts(monitor)

    def request(rows: int, length: int, *, token: int = 7, priority: str = "query", timeout_s: float = 60) -> Any:
        parameters = protocol.parameters(
            fingerprint=server.manifest.fingerprint, priority=priority, timeout_s=timeout_s
        )
        return protocol.tokens_request(pack_rows([[token] * length] * rows), parameters)

    def refuse() -> None:
        with pytest.raises(InvalidInput):
            connection.infer(request(1, 3, token=-1), 5)

    under_way: list[Any] = []

    def keep_under_way(number: int, message: Any) -> None:
        under_way[:] = [call for call in under_way if not call.done()]
        under_way.extend(connection.start_infer(message, 60) for _ in range(number - len(under_way)))

    def outcomes() -> set[str]:
        """Wait for the calls in flight. Returns the rejections without their figures, and "" if a call was answered."""
        failures = [call.exception() for call in under_way]
        return {re.sub(r"[\d.,]+", "N", failure.details()) if failure else "" for failure in failures}

    # This server has no supervisor, so its canary becomes old.
    alerts.expect("SentritonCanaryLate", lasting=True)
    alerts.expect("SentritonRefusals", provoke=refuse)

    # A fast machine gets more requests.
    started = time.monotonic()
    large = request(64, longest)
    alerts.expect("SentritonSlowQueue", provoke=lambda: keep_under_way(4 + int(time.monotonic() - started), large))
    assert outcomes() == {""}

    # More bulk work than the server can compute within its two seconds.
    bulk = request(64, longest, priority="bulk", timeout_s=2)
    alerts.expect("SentritonQueueFull", provoke=lambda: keep_under_way(30, bulk))
    assert all(not outcome or re.search("Request timeout expired|send again later", outcome) for outcome in outcomes())

    # A deadlock: Triton considers the encoders healthy, but rows wait. Bulk, so that the queries' queue is not slow as
    # well.
    short = request(1, 3, priority="bulk")
    with hanging_main_threads(encoder.pid for encoder in encoders(server)):
        # One after the other, since simultaneous requests leave in one batch.
        alerts.expect("SentritonStuck", provoke=lambda: keep_under_way(len(under_way) + 1, short))
    assert outcomes() == {""}, "the hang is over, and the waiting calls are answered"

    # Encoders that hang completely: Triton reports it once, and then the server rejects every request.
    for encoder in encoders(server):
        encoder.send_signal(signal.SIGSTOP)
    failing: set[str] = set()

    def ask() -> None:
        keep_under_way(8, short)
        failing.update(labels["model"] for labels, _ in monitor.query(dashboard_expressions()["Errors by code B"]))

    alerts.expect("SentritonModelBroken", "SentritonStuck", provoke=ask)
    assert all("is not healthy" in outcome for outcome in outcomes())
    assert "encoder" in failing
    connection.close()
    alerts.expect("SentritonDown", provoke=server.stop)
    assert alerts.fired == set(ALERTS)
