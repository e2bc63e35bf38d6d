"""Rules, scrape configuration and Compose as files."""

from __future__ import annotations

import subprocess

import yaml

from tests.manifests.files import DOCKER, MONITORING, tool

RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())


def test_promtool_accepts_rules_and_configuration() -> None:
    for kind, file in (("rules", "alerts.yaml"), ("config", "prometheus.yml")):
        checked = subprocess.run(
            [tool("promtool"), "check", kind, MONITORING / file], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


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
    server = compose["services"]["sentriton"]
    exit_timeout_s = int(server["environment"]["SENTRITON_EXIT_TIMEOUT_S"])
    assert int(server["stop_grace_period"].removesuffix("s")) >= exit_timeout_s + 10
