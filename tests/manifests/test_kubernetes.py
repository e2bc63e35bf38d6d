"""The manifests match the schemas, and the needs of a server that drains, recovers and has few rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sentriton_server.serving.preflight import GIB
from sentriton_server.settings import ServerSettings
from tests.manifests.command_lines import known_variables, parse
from tests.manifests.files import KUBERNETES, Manifest, kustomize, of_kind, overlay, read
from tests.manifests.guide import KUSTOMIZATIONS, follow

# Kubernetes supports the newest release and the two before it.
NEWEST = kubernetes_validate.latest_version().rsplit(".", 1)[0]
OLDEST = f"1.{int(NEWEST.split('.')[1]) - 2}"
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "ServingRuntime", "InferenceService"}
COMPONENTS = sorted(f"components/{path.parent.name}" for path in KUBERNETES.glob("components/*/kustomization.yaml"))
OVERLAYS = sorted(str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
GUIDED = [f"guide: {name}" for name in KUSTOMIZATIONS if name not in ("caller", "export", "gateway")]
VARIANTS = ["base", "kserve", *OVERLAYS, *COMPONENTS, "../monitoring", *GUIDED]
LAUNCHER_MARGIN_S = 5  # how much longer than --exit-timeout-s the launcher waits before it kills


@pytest.fixture(scope="module", params=VARIANTS)
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, ...]:
    """A folder as it is built; a component together with the base and the CPU's or GPU's; the guide's."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("overlay")
    if name in GUIDED:
        return follow(name.removeprefix("guide: "), folder)
    if name in (*COMPONENTS, "../monitoring"):
        processor = "components/gpu" if name == "components/gpu" else "components/cpu"
        return overlay(folder, components=list(dict.fromkeys([processor, name])))
    return kustomize(KUBERNETES / name)


def pods(manifests: tuple[Manifest, ...]) -> Iterator[Any]:
    """The pod specifications; KServe's runtime is most of one."""
    for deployment in of_kind(manifests, "Deployment"):
        yield deployment["spec"]["template"]["spec"]
    for runtime, service in zip(
        of_kind(manifests, "ServingRuntime"), of_kind(manifests, "InferenceService"), strict=True
    ):
        grace_s = service["spec"]["predictor"]["terminationGracePeriodSeconds"]
        fields = {field: runtime["spec"][field] for field in ("containers", "volumes")}
        yield {**fields, "terminationGracePeriodSeconds": grace_s, "automountServiceAccountToken": False}


def containers(pod: Any) -> list[Any]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(manifests: tuple[Manifest, ...], container: Any) -> dict[str, str | None]:
    """A container's variables by name, those of its ConfigMaps included; None: known at run time only."""
    configs = {config["metadata"]["name"]: config["data"] for config in of_kind(manifests, "ConfigMap")}
    values: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        values |= configs[source["configMapRef"]["name"]]
    return values | {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def quantity(text: str) -> float:
    """Bytes or cores of a Kubernetes quantity."""
    number, unit = re.fullmatch(r"([\d.]+)(m|Mi|Gi|)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"m": 1e-3, "Mi": 2**20, "Gi": 2**30, "": 1}[unit]


@pytest.mark.parametrize("release", [NEWEST, OLDEST])
def test_kubernetes_own_kinds_validate_strictly(manifests: tuple[Manifest, ...], release: str) -> None:
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(manifest, release, strict=True) == release
    for spec in pods(manifests):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        assert kubernetes_validate.validate(pod, release, strict=True) == release


def test_the_validator_finds_a_misspelt_field() -> None:
    (deployment,) = of_kind(kustomize(KUBERNETES / "base"), "Deployment")
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_command_lines_and_variables_are_those_of_sentriton(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests):
        for container in containers(pod):
            parse(container["args"])
            names = {name for name in environment(manifests, container) if name.startswith("SENTRITON_")}
            assert names <= known_variables(container["args"][0])
            for probe in probes(container).values():
                command = probe["exec"]["command"]
                if command[0] == "test":
                    assert command == ["test", "-e", environment(manifests, container)["SENTRITON_READY_FILE"]]
                else:
                    assert command[:2] == ["sentriton", "health"]
                    parse(command[1:])


def probes(container: Any) -> dict[str, Any]:
    return {name: container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe") if name in container}


def test_probes(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests):
        (container,) = pod["containers"]
        found = probes(container)
        assert set(found) == {"startupProbe", "readinessProbe", "livenessProbe"}
        health = found["livenessProbe"]
        # The command must be able to name the fault before it is ended.
        assert health["timeoutSeconds"] >= parse(health["exec"]["command"][1:])["timeout_s"] + 3
        starting_s = found["startupProbe"]["periodSeconds"] * found["startupProbe"]["failureThreshold"]
        ready_timeout_s = environment(manifests, container)["SENTRITON_READY_TIMEOUT_S"]
        assert ready_timeout_s is not None
        assert starting_s >= float(ready_timeout_s), "the server's own error comes first, and says more"
        for name in ("startupProbe", "readinessProbe"):
            assert found[name]["timeoutSeconds"] >= 5, "a busy node takes its time to run a command"
        assert found["readinessProbe"]["failureThreshold"] >= 2, "one slow command takes no pod out"
        patience_s = {name: probe["periodSeconds"] * probe["failureThreshold"] for name, probe in found.items()}
        assert patience_s["readinessProbe"] <= 5, "out of the Service at once"
        # Three canaries that time out, a pause, a start: the supervisor had its turn.
        assert patience_s["livenessProbe"] >= 3 * ServerSettings().canary_timeout_s + 30


def test_a_pod_that_goes_has_time_to_drain(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests):
        (container,) = pod["containers"]
        pre_stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        exit_timeout_s = environment(manifests, container)["SENTRITON_EXIT_TIMEOUT_S"]
        assert exit_timeout_s is not None
        assert pre_stop_s >= 10, "clients learn by DNS and connection age that the pod goes"
        assert pod["terminationGracePeriodSeconds"] >= pre_stop_s + float(exit_timeout_s) + LAUNCHER_MARGIN_S + 5
    for deployment in of_kind(manifests, "Deployment"):
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        assert (rolling["maxSurge"], rolling["maxUnavailable"]) in ((1, 0), (0, 1))


def test_callers_learn_of_new_pods(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests):
        (container,) = pod["containers"]
        age_s = environment(manifests, container)["SENTRITON_MAX_CONNECTION_AGE_S"]
        assert age_s is not None
        # gRPC looks a name up again when a connection ends, at most every 30 s.
        assert 30 <= int(age_s) <= 600


def check_locked_up(pod: Any) -> None:
    assert pod["automountServiceAccountToken"] is False
    for container in containers(pod):
        security = {**pod.get("securityContext", {}), **container["securityContext"]}
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] >= 10_000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_pods_are_locked_up(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests):
        check_locked_up(pod)


@pytest.mark.parametrize("release", [NEWEST, OLDEST])
def test_the_export_job_writes_what_the_pods_read(release: str) -> None:
    (job,) = of_kind(kustomize(KUBERNETES / "export-job"), "Job")
    assert kubernetes_validate.validate(job, release, strict=True) == release
    pod = job["spec"]["template"]["spec"]
    check_locked_up(pod)
    (container,) = pod["containers"]
    written = parse(container["args"])["repository"]
    component = read(KUBERNETES / "components/repository-volume/kustomization.yaml")
    (deployment,) = [yaml.safe_load(patch["patch"]) for patch in component["patches"]]
    (reader,) = deployment["spec"]["template"]["spec"]["containers"]
    (mount,) = reader["volumeMounts"]
    assert str(written).startswith(f"{mount['mountPath']}/")
    (volume,) = deployment["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] in str(pod["volumes"])
    (served,) = of_kind(kustomize(KUBERNETES / "overlays/gpu"), "Deployment")
    assert parse(served["spec"]["template"]["spec"]["containers"][0]["args"])["source"] == str(written)


def test_shared_memory_and_resources(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests):
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        shm = mounts["/dev/shm"]["emptyDir"]
        assert shm["medium"] == "Memory"
        assert quantity(shm["sizeLimit"]) >= GIB
        assert "/tmp" in mounts, "the root file system is read-only"
        for one in containers(pod):
            resources = one["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"]
            assert "cpu" not in resources["limits"], "throttling shows as latency"
            threads = next(entry for entry in one["env"] if entry["name"] == "OMP_NUM_THREADS")
            assert threads["valueFrom"]["resourceFieldRef"]["containerName"] == one["name"]
            assert one["resources"]["requests"]["cpu"] == container["resources"]["requests"]["cpu"], "exported for it"
        # Files in /dev/shm count as the pod's memory.
        assert quantity(container["resources"]["limits"]["memory"]) >= 2 * quantity(shm["sizeLimit"])


def test_who_may_talk_to_whom(manifests: tuple[Manifest, ...]) -> None:
    for deployment in of_kind(manifests, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        name = deployment["metadata"]["name"]
        suffix = name.removeprefix("sentriton")
        (policy,) = [one for one in of_kind(manifests, "NetworkPolicy") if one["metadata"]["name"] == name]
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        callers, prometheus = policy["spec"]["ingress"]
        assert callers["ports"] == [{"port": "grpc", "protocol": "TCP"}]
        (caller,) = callers["from"]
        # kustomize adds the server's labels to matchLabels wherever it finds them: no caller has those.
        assert "matchLabels" not in caller["podSelector"]
        assert prometheus["ports"] == [{"port": "metrics", "protocol": "TCP"}]
        (budget,) = [one for one in of_kind(manifests, "PodDisruptionBudget") if one["metadata"]["name"] == name]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert budget["spec"]["maxUnavailable"] == 1
        services = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "Service")}
        for part in ("", "-headless", "-metrics"):
            service = services[f"sentriton{part}{suffix}"]
            assert service["selector"].items() <= labels.items()
            assert (service.get("clusterIP") == "None") == (part != "")
            (port,) = service["ports"]
            assert (port["port"], port["appProtocol"]) == ((8002, "http") if part == "-metrics" else (8001, "grpc"))
        for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
