"""The Helm chart: its values are checked, and its objects are those of the kustomize components."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import sentriton
from tests.manifests.files import DOCKER, Manifest, overlay, read, tool
from tests.manifests.guide import COMMANDS
from tests.manifests.test_kubernetes import NEWEST

CHART = DOCKER / "helm/sentriton"
HELM = {"app.kubernetes.io/instance", "checksum/settings", "helm.sh/resource-policy"}
TRACES = "http://otel-collector.monitoring.svc:4318/v1/traces"
# Values, and the components that are the same.
CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "cpu"),
    ({"device": "gpu", "model": {"source": "claim"}}, "gpu repository-volume"),
    ({"model": {"source": "export"}, "tracing": {"url": TRACES}}, "cpu repository-export tracing"),
    ({"tls": {"enabled": True}, "accessKey": {"enabled": True}}, "cpu tls access-key"),
    ({"tls": {"enabled": True, "mutual": True}, "tracing": {"url": TRACES}}, "cpu mutual-tls tracing"),
    ({"autoscaling": {"through": "keda"}}, "cpu autoscaling-keda"),
    (
        {"autoscaling": {"through": "adapter"}, "monitoring": {"enabled": True}},
        "cpu autoscaling-adapter ../../monitoring",
    ),
]
# Values, and the components of the server and of the gateway that are the same.
GATEWAYS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({}, "cpu", []),
    ({"gateway": {"callersKey": {"enabled": True}}}, "cpu", ["callers-key"]),
    (
        {"tls": {"enabled": True}, "accessKey": {"enabled": True}, "monitoring": {"enabled": True}},
        "cpu tls access-key ../../monitoring",
        ["tls", "access-key", "../../../monitoring/gateway"],
    ),
    (
        {"tls": {"enabled": True, "mutual": True}, "gateway": {"settings": {"SENTRITON_TIMEOUT_S": "60"}}},
        "cpu mutual-tls",
        ["mutual-tls"],
    ),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"replica": 2}, "replica"),
    ({"replicas": 2, "autoscaling": {"through": "keda"}}, "through"),
    ({"tls": {"mutual": True}}, "enabled"),
    ({"device": "gpu", "model": {"source": "export"}}, "source"),
    ({"settings": {"ROW_CACHE_MIB": "64"}}, "ROW_CACHE_MIB"),
    ({"memory": "6 GB"}, "memory"),
    ({"model": {"claim": {"size": "0Gi"}}}, "size"),
    # The probes, the ports of the Services and those of the NetworkPolicy depend on them.
    ({"settings": {"SENTRITON_GRPC_PORT": "9001"}}, "SENTRITON_GRPC_PORT"),
    ({"settings": {"SENTRITON_READY_FILE": "/tmp/other"}}, "SENTRITON_READY_FILE"),
    ({"gateway": {"settings": {"SENTRITON_GATEWAY_PORT": "80"}}}, "SENTRITON_GATEWAY_PORT"),
    ({"gateway": {"settings": {"SENTRITON_GATEWAY_HOST": "127.0.0.1"}}}, "SENTRITON_GATEWAY_HOST"),
    ({"gateway": {"settings": {"SENTRITON_GATEWAY_TLS_KEY": "key.pem"}}}, "SENTRITON_GATEWAY_TLS_KEY"),
    ({"gateway": {"memory": "1 GB"}}, "memory"),
    ({"autoscaling": {"through": "keda", "minimum": 20}}, "minimum is 20 and autoscaling.maximum is 10"),
]


def helm(*arguments: object, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command, *rest = [tool("helm"), *arguments, "--kube-version", NEWEST, "--values", "-"]
    return subprocess.run([command, *rest], input=yaml.safe_dump(values), capture_output=True, text=True, check=False)


def template(values: dict[str, Any]) -> list[Manifest]:
    made = helm("template", "sentriton", CHART, values=values)
    assert made.returncode == 0, made.stderr
    return [manifest for manifest in yaml.safe_load_all(made.stdout) if manifest]


def comparable(value: Any) -> Any:
    """Without the parts that only one of them has: Helm's label and annotations, the hash in the names of kustomize's
    ConfigMaps. Lists of named things are in the order of their names.
    """
    if isinstance(value, dict):
        kept = {name: comparable(one) for name, one in value.items() if name not in HELM}
        return {name: one for name, one in kept.items() if (name, one) != ("annotations", {})}
    if isinstance(value, list):
        items = [comparable(one) for one in value]
        named = all(isinstance(one, dict) and "name" in one for one in items)
        return sorted(items, key=lambda one: str(one["name"])) if named else items
    # kustomize folds expressions anew.
    return re.sub(r"-[bcdfghkmt2456789]{10}$", "", " ".join(value.split())) if isinstance(value, str) else value


def by_name(manifests: Any) -> dict[str, Any]:
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in map(comparable, manifests)}


@pytest.mark.parametrize(("values", "components"), CASES, ids=[components for _, components in CASES])
def test_its_objects_are_those_of_kustomize(values: dict[str, Any], components: str, tmp_path: Path) -> None:
    expected = overlay(tmp_path, components=[f"components/{name}" for name in components.split()])
    assert by_name(template(values)) == by_name(expected)


@pytest.mark.parametrize(("values", "components", "own"), GATEWAYS, ids=["+".join(one[2]) for one in GATEWAYS])
def test_its_gateway_is_that_of_kustomize(
    values: dict[str, Any], components: str, own: list[str], tmp_path: Path
) -> None:
    gateway = {**values.get("gateway", {}), "enabled": True}
    literals = [f"{name}={value}" for name, value in gateway.get("settings", {}).items()]
    generated = [{"name": "sentriton-gateway", "behavior": "merge", "literals": literals}] if literals else []
    expected = (
        *overlay(tmp_path / "server", components=[f"components/{name}" for name in components.split()]),
        *overlay(
            tmp_path / "gateway",
            "gateway",
            [f"gateway/components/{name}" for name in own],
            configMapGenerator=generated,
        ),
    )
    every = {**values, "gateway": gateway}
    assert by_name(template(every)) == by_name(expected)
    checked = helm("lint", "--strict", CHART, values=every)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(("values", "components"), CASES, ids=[components for _, components in CASES])
def test_lint_finds_nothing(values: dict[str, Any], components: str) -> None:
    checked = helm("lint", "--strict", CHART, values=values)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_wrong_values_are_refused(values: dict[str, Any], named: str) -> None:
    refused = helm("template", "sentriton", CHART, values=values)
    assert refused.returncode != 0
    assert named in refused.stderr


def test_the_guides_command_has_values_of_the_chart() -> None:
    (words,) = [shlex.split(command) for command in COMMANDS if command.startswith("helm ")]
    settings = [word for at, word in enumerate(words) if words[at - 1] == "--set"]
    made = helm("template", words[3], CHART, *(part for one in settings for part in ("--set", one)), values={})
    assert made.returncode == 0, made.stderr
    assert "registry.example.com/sentriton:cpu" in made.stdout


def test_every_value_is_in_the_schema_and_has_a_default() -> None:
    def names(values: Any, place: str = "") -> set[str]:
        inner = values if isinstance(values, dict) else {}
        return {place}.union(*(names(one, f"{place}.{name}") for name, one in inner.items()))

    def declared(schema: Any, place: str = "") -> set[str]:
        inner = schema.get("properties", {})
        return {place}.union(*(declared(one, f"{place}.{name}") for name, one in inner.items()))

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert declared(schema) - {".global"} == names(read(CHART / "values.yaml"))


def test_the_chart_has_the_version_of_the_server() -> None:
    chart = read(CHART / "Chart.yaml")
    assert chart["version"] == chart["appVersion"] == sentriton.__version__


def test_values_reach_the_objects() -> None:
    values = {
        "image": {"repository": "registry.example.com/sentriton", "pullSecrets": ["registry"]},
        "replicas": 3,
        "settings": {"SENTRITON_ROW_CACHE_MIB": "64", "SENTRITON_EXIT_TIMEOUT_S": "20"},
        "model": {"source": "claim", "claim": {"storageClass": "nfs"}},
        "networkPolicy": {"prometheusNamespace": "prometheus"},
        "gateway": {"enabled": True, "replicas": 2, "memory": "1Gi", "image": {"tag": "gateway-2"}},
    }
    made = by_name(template(values))
    assert made["Deployment/sentriton"]["spec"]["replicas"] == 3
    pod = made["Deployment/sentriton"]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["containers"][0]["image"] == "registry.example.com/sentriton:cpu"
    settings = made["ConfigMap/sentriton"]["data"]
    assert (settings["SENTRITON_ROW_CACHE_MIB"], settings["SENTRITON_EXIT_TIMEOUT_S"]) == ("64", "20")
    assert settings["SENTRITON_HOST"] == "0.0.0.0"
    assert made["PersistentVolumeClaim/sentriton-models"]["spec"]["storageClassName"] == "nfs"
    for name in ("sentriton", "sentriton-gateway"):
        assert "prometheus" in str(made[f"NetworkPolicy/{name}"]["spec"]["ingress"])
    gateway = made["Deployment/sentriton-gateway"]["spec"]
    assert gateway["replicas"] == 2
    assert gateway["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    (container,) = gateway["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/sentriton:gateway-2"
    assert container["resources"]["limits"] == {"memory": "1Gi"}


@pytest.mark.parametrize(("exit_s", "grace_s"), [("30", 60), ("0", 60), ("600", 630)])
def test_a_pod_has_the_time_that_its_server_takes_to_end(exit_s: str, grace_s: int) -> None:
    made = by_name(template({"settings": {"SENTRITON_EXIT_TIMEOUT_S": exit_s}}))
    assert made["Deployment/sentriton"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace_s


@pytest.mark.parametrize(("exit_s", "grace_s"), [("30", 60), ("0.5", 60), ("99.5", 130)])
def test_a_pod_has_the_time_that_its_gateway_takes_to_end(exit_s: str, grace_s: int) -> None:
    made = by_name(template({"gateway": {"enabled": True, "settings": {"SENTRITON_GATEWAY_EXIT_TIMEOUT_S": exit_s}}}))
    pod = made["Deployment/sentriton-gateway"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == grace_s


@pytest.mark.parametrize("ready_s", ["1800", "1799.5"])
def test_a_pod_has_the_time_that_its_server_takes_to_start(ready_s: str) -> None:
    made = by_name(template({"settings": {"SENTRITON_READY_TIMEOUT_S": ready_s}}))
    deployment = made["Deployment/sentriton"]["spec"]
    probe = deployment["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == 1820
    assert deployment["progressDeadlineSeconds"] > 1820


def test_names_that_look_like_numbers_stay_texts() -> None:
    values = {
        "image": {"repository": "sentriton", "tag": "1.10", "pullSecrets": ["7"]},
        "model": {"source": "claim", "claim": {"name": "1000", "storageClass": "true"}},
        "tls": {"enabled": True, "secret": "0123"},
        "accessKey": {"enabled": True, "secret": "null"},
        "networkPolicy": {"prometheusNamespace": "123"},
        "monitoring": {"enabled": True, "release": "0x10"},
        "autoscaling": {"through": "keda", "prometheus": "yes"},
        "tracing": {"url": TRACES, "namespace": "12"},
        "gateway": {"enabled": True, "callersKey": {"enabled": True, "secret": "7"}, "image": {"tag": "1.10"}},
    }
    made = helm("template", "2024", CHART, values=values)
    assert made.returncode == 0, made.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(made.stdout) if manifest]

    def texts(value: Any, place: str = "") -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                if name in ("name", "secretName", "claimName", "storageClassName", "serviceAccountName", "image"):
                    assert isinstance(one, str), f"{place}.{name} is {one!r}"
                if name in ("matchLabels", "labels"):
                    assert all(isinstance(each, str) for each in one.values()), f"{place}.{name} is {one}"
                texts(one, f"{place}.{name}")
        elif isinstance(value, list):
            for one in value:
                texts(one, place)

    texts(manifests)
