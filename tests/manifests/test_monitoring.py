"""Rules, scrape configuration and Compose as files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from sentriton_gateway.settings import GatewaySettings
from sentriton_server.settings import ServerSettings
from tests.manifests.files import DOCKER, MONITORING, tool

RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())


def test_promtool_accepts_rules_and_configuration() -> None:
    for kind, file in (("rules", "alerts.yaml"), ("config", "prometheus.yml")):
        checked = subprocess.run(
            [tool("promtool"), "check", kind, MONITORING / file], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


def check_alerts(folder: Path, series: dict[str, str], firing: dict[str, list[str]]) -> None:
    """These alerts, and no others, fire at each time, by promtool. The series have a sample every 10 s."""
    rule_test = {
        "rule_files": [str(MONITORING / "alerts.yaml")],
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "10s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": at,
                        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
                    }
                    for at, names in firing.items()
                ],
            }
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(rule_test))
    tested = subprocess.run(
        [tool("promtool"), "test", "rules", folder / "test.yaml"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("gateway", ["", "sentriton-gateway", "a-sentriton-gateway-next"])
@pytest.mark.parametrize("job", ["sentriton", "sentriton-metrics", "a-sentriton-metrics-next"])
def test_down_fires_and_stays_when_the_target_vanishes(job: str, gateway: str, tmp_path: Path) -> None:
    series = {f'up{{job="{job}", instance="one"}}': "1x30 stale _x180"}
    if gateway:
        series[f'up{{job="{gateway}", instance="two"}}'] = "1x220"
    check_alerts(tmp_path, series, {"4m": [], "7m": ["SentritonDown"], "30m": ["SentritonDown"]})


@pytest.mark.parametrize("gateway", ["sentriton-gateway", "a-sentriton-gateway-next"])
def test_a_gateway_that_is_down_is_no_server(gateway: str, tmp_path: Path) -> None:
    server = {'up{job="sentriton", instance="one"}': "1x120"}
    check_alerts(tmp_path, server, {"10m": []})
    down = {f'up{{job="{gateway}", instance="two"}}': "1x30 0x30 1x60"}
    check_alerts(tmp_path, server | down, {"5m": [], "7m": ["SentritonGatewayDown"], "12m": []})


@pytest.mark.parametrize(("status", "name"), [("503", ["SentritonGatewayErrors"]), ("429", [])])
def test_failed_requests_of_a_gateway_fire(status: str, name: list[str], tmp_path: Path) -> None:
    labels = 'job="sentriton-gateway", instance="two", path="/v1/embeddings"'
    series = {
        'up{job="sentriton", instance="one"}': "1x180",
        f'sentriton_gateway_requests_total{{{labels}, status="200"}}': "0+80x180",
        # A twentieth of the requests, then a fifth.
        f'sentriton_gateway_requests_total{{{labels}, status="{status}"}}': "0+4x60 240+20x120",
    }
    check_alerts(tmp_path, series, {"10m": [], "20m": name})


def test_a_single_failed_request_is_no_alert(tmp_path: Path) -> None:
    labels = 'job="sentriton-gateway", instance="two", path="/v1/embeddings"'
    series = {
        'up{job="sentriton", instance="one"}': "1x180",
        f'sentriton_gateway_requests_total{{{labels}, status="503"}}': "0x60 1x120",
    }
    check_alerts(tmp_path, series, {f"{minute}m": [] for minute in range(10, 20)})


def test_the_operators_rules_are_the_same() -> None:
    rule = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert rule["spec"]["groups"] == RULES["groups"]


def test_compose_mounts_what_is_there() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            assert (DOCKER / volume.split(":")[0]).is_file(), volume
    provider = yaml.safe_load((MONITORING / "grafana/dashboards.yaml").read_text())["providers"][0]
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/dashboard.json" in mounted
    for name, variable in {"sentriton": "EXIT_TIMEOUT_S", "gateway": "GATEWAY_EXIT_TIMEOUT_S"}.items():
        service = compose["services"][name]
        exit_timeout_s = int(service["environment"][f"SENTRITON_{variable}"])
        assert int(service["stop_grace_period"].removesuffix("s")) >= exit_timeout_s + 10


def test_composes_prometheus_scrapes_its_services() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    (alias,) = services["gateway"]["networks"]["default"]["aliases"]
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["dns_sd_configs"] for job in jobs}
    ports = {"sentriton": ServerSettings().metrics_port, alias: GatewaySettings().gateway_port}
    assert targets == {name: [{"names": [name], "type": "A", "port": port}] for name, port in ports.items()}
