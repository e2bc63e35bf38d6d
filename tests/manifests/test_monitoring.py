"""Rules, scrape configuration and Compose as files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.manifests.files import DOCKER, MONITORING, tool

RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())


def test_promtool_accepts_rules_and_configuration() -> None:
    for kind, file in (("rules", "alerts.yaml"), ("config", "prometheus.yml")):
        checked = subprocess.run(
            [tool("promtool"), "check", kind, MONITORING / file], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("job", ["sentriton", "sentriton-metrics", "a-sentriton-metrics-next"])
def test_down_fires_and_stays_when_the_target_vanishes(job: str, tmp_path: Path) -> None:
    firing = {"labels": 'ALERTS{alertname="SentritonDown", alertstate="firing", severity="critical"}', "value": 1}
    rule_test = {
        "rule_files": [str(MONITORING / "alerts.yaml")],
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "10s",
                "input_series": [{"series": f'up{{job="{job}", instance="one"}}', "values": "1x30 stale _x180"}],
                "promql_expr_test": [
                    {"expr": 'ALERTS{alertstate="firing"}', "eval_time": at, "exp_samples": expected}
                    for at, expected in (("4m", []), ("7m", [firing]), ("30m", [firing]))
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(rule_test))
    tested = subprocess.run(
        [tool("promtool"), "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


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
