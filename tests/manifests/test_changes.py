"""The manifests through the changes of a cluster: an autoscaler, an export, a caller, a suffix, another Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from sentriton_server.serving.preflight import MIB
from tests.manifests.command_lines import known_variables, parse
from tests.manifests.files import KUBERNETES, MONITORING, Manifest, kustomize, of_kind, overlay, read
from tests.manifests.guide import COMMANDS, FURTHER_PATCHES
from tests.manifests.test_kubernetes import NEWEST, OLDEST, OVERLAYS, check_locked_up, quantity

SCALERS = ["components/autoscaling-adapter", "components/autoscaling-keda"]
CALLERS = sorted(f"caller/components/{path.name}" for path in (KUBERNETES / "caller/components").iterdir())
DNS = [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")]


def deployment(manifests: tuple[Manifest, ...]) -> Any:
    (one,) = of_kind(manifests, "Deployment")
    return one["spec"]


@pytest.mark.parametrize("component", SCALERS)
def test_an_autoscaler_joins_a_running_deployment_without_a_drop(tmp_path: Path, component: str) -> None:
    # A number that was applied once and is gone from the next manifest becomes 1.
    assert "replicas" not in deployment(kustomize(KUBERNETES / "base"))
    manifests = overlay(tmp_path, components=["components/cpu", component])
    assert "replicas" not in deployment(manifests)
    (scaler,) = [*of_kind(manifests, "HorizontalPodAutoscaler"), *of_kind(manifests, "ScaledObject")]
    assert scaler["spec"]["scaleTargetRef"]["name"] == "sentriton"


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_apply_never_changes_the_number_of_pods(name: str) -> None:
    assert not any("replicas" in one["spec"] for one in of_kind(kustomize(KUBERNETES / name), "Deployment"))


def test_the_export_comes_before_the_pods_that_would_hold_its_gpu() -> None:
    exported, served = (kustomize(KUBERNETES / name) for name in ("export-job", "overlays/gpu"))
    assert of_kind(exported, "PersistentVolumeClaim") == of_kind(served, "PersistentVolumeClaim") != []
    places = [
        next(at for at, command in enumerate(COMMANDS) if part in command)
        for part in ("apply --kustomize export", "wait --for condition=complete job/", "apply --kustomize gpu")
    ]
    assert places == sorted(places)


def test_an_export_for_cpus_waits_for_no_gpu(tmp_path: Path) -> None:
    (job,) = of_kind(overlay(tmp_path, "export-job", ["export-job/components/cpu"]), "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "sentriton:cpu"
    assert parse(container["args"])["device"] == "cpu"
    assert "gpu" not in str(job)


def test_a_setting_of_the_guide_reaches_the_pods(tmp_path: Path) -> None:
    components = ["components/cpu", "components/tracing"]
    before = sources(overlay(tmp_path / "before", components=components))
    patches = yaml.safe_load(FURTHER_PATCHES["ConfigMap/sentriton"])
    manifests = overlay(tmp_path / "after", components=components, **patches)
    (config,) = of_kind(manifests, "ConfigMap")
    assert config["data"]["SENTRITON_ROW_CACHE_MIB"] == "64"
    assert config["data"]["SENTRITON_READY_FILE"] == "/tmp/ready"
    # The new name rolls the pods.
    assert sources(manifests) == [{"configMapRef": {"name": config["metadata"]["name"]}}] != before


def sources(manifests: tuple[Manifest, ...]) -> Any:
    return deployment(manifests)["template"]["spec"]["containers"][0]["envFrom"]


@pytest.mark.parametrize("release", [NEWEST, OLDEST])
@pytest.mark.parametrize("component", [None, *CALLERS])
def test_a_caller_is_admitted_everywhere(tmp_path: Path, component: str | None, release: str) -> None:
    manifests = overlay(tmp_path, "caller", [component] if component else [])
    (job,) = manifests
    assert kubernetes_validate.validate(job, release, strict=True) == release
    template = job["spec"]["template"]
    check_locked_up(template["spec"])
    assert template["metadata"]["labels"] == {"sentriton-client": "true"}, "the label that the NetworkPolicy admits"
    (container,) = template["spec"]["containers"]
    parse(container["args"])
    assert {entry["name"] for entry in container["env"]} <= known_variables("serve")


def test_a_callers_secrets_are_not_the_servers() -> None:
    (volume,) = secrets(read(KUBERNETES / "caller/components/tls/kustomization.yaml"))
    assert [item["key"] for item in volume["items"]] == ["ca.crt"]
    (volume,) = secrets(read(KUBERNETES / "caller/components/mutual-tls/kustomization.yaml"))
    assert volume["secretName"] != "sentriton-tls"


def secrets(component: Any) -> list[Any]:
    """The Secrets that a component mounts."""
    pods = [yaml.safe_load(patch["patch"])["spec"]["template"]["spec"] for patch in component["patches"]]
    return [volume["secret"] for pod in pods for volume in pod["volumes"]]


def test_the_autoscalers_ask_the_same_prometheus() -> None:
    adapter = read(KUBERNETES / "components/autoscaling-adapter/adapter-rules.yaml")["prometheus"]
    triggers = read(KUBERNETES / "components/autoscaling-keda/scaledobject.yaml")["spec"]["triggers"]
    addresses = {trigger["metadata"]["serverAddress"] for trigger in triggers}
    assert addresses == {f"{adapter['url']}:{adapter['port']}"}
    policy = read(KUBERNETES / "base/networkpolicy.yaml")
    (source,) = policy["spec"]["ingress"][1]["from"]
    namespace = source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert (urlsplit(adapter["url"]).hostname or "").split(".")[1] == namespace


def test_one_patch_names_the_prometheus_that_selects(tmp_path: Path) -> None:
    for file in ("servicemonitor.yaml", "prometheusrule.yaml"):
        assert read(MONITORING / file)["metadata"]["labels"] == {"release": "kube-prometheus-stack"}
    patch = "- {op: replace, path: /metadata/labels/release, value: prometheus}"
    manifests = overlay(
        tmp_path,
        components=["components/cpu", "../monitoring"],
        patches=[{"target": {"group": "monitoring.coreos.com"}, "patch": patch}],
    )
    selected = [one for one in manifests if one["apiVersion"].startswith("monitoring.coreos.com/")]
    assert [one["metadata"]["labels"]["release"] for one in selected] == ["prometheus"] * 2


def test_a_long_export_is_no_failed_rollout(tmp_path: Path) -> None:
    base = deployment(kustomize(KUBERNETES / "base"))
    startup = base["template"]["spec"]["containers"][0]["startupProbe"]
    assert base["progressDeadlineSeconds"] >= 2 * startup["periodSeconds"] * startup["failureThreshold"]
    exporting = deployment(overlay(tmp_path, components=["components/cpu", "components/repository-export"]))
    assert exporting["progressDeadlineSeconds"] >= base["progressDeadlineSeconds"] + 3000


@pytest.mark.parametrize("component", ["components/repository-export", "components/tracing"])
def test_names_resolve_in_every_cluster(tmp_path: Path, component: str) -> None:
    # A cluster's DNS may listen on 5353 behind its Service on 53, and policies see the pod's port.
    (policy,) = of_kind(overlay(tmp_path, components=["components/cpu", component]), "NetworkPolicy")
    admitted = [port for rule in policy["spec"]["egress"] for port in rule["ports"] if "to" not in rule]
    assert all(port in admitted for port in DNS)


@pytest.mark.parametrize("component", ["components/tls", "components/mutual-tls"])
def test_the_liveness_probe_asks_for_a_name_of_the_certificate_under_a_suffix(tmp_path: Path, component: str) -> None:
    manifests = overlay(tmp_path, components=["components/cpu", component], nameSuffix="-next", namePrefix="a-")
    environment = deployment(manifests)["template"]["spec"]["containers"][0]["env"]
    (name,) = [entry["value"] for entry in environment if entry["name"] == "SENTRITON_SERVER_NAME"]
    assert name == "a-sentriton-next"
    assert name in {service["metadata"]["name"] for service in of_kind(manifests, "Service")}


def test_shared_memory_holds_the_batches_of_models_with_8192_positions() -> None:
    # preflight's formula: a batch four times, and token embeddings of 4,096 tokens twice.
    volumes = deployment(kustomize(KUBERNETES / "base"))["template"]["spec"]["volumes"]
    (shm,) = [volume["emptyDir"] for volume in volumes if volume["name"] == "shm"]
    hidden_size = 4_096
    assert quantity(shm["sizeLimit"]) >= (4 * 8_192 + 2 * 4_096) * hidden_size * 4 + 32 * MIB
