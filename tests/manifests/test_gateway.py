"""The gateway's manifests: alone, with each component, and in one kustomization with the server and a suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from sentriton import ClientSettings
from sentriton_gateway import application
from sentriton_gateway.settings import GatewaySettings
from tests.manifests.command_lines import known_variables, parse
from tests.manifests.files import KUBERNETES, Manifest, kustomize, of_kind, overlay
from tests.manifests.references import dangling, images, secrets
from tests.manifests.test_changes import DNS
from tests.manifests.test_kubernetes import CUSTOM, NEWEST, OLDEST, check_locked_up, environment, quantity

COMPONENTS = sorted(f"gateway/components/{path.name}" for path in (KUBERNETES / "gateway/components").iterdir())
MONITORING = "../monitoring/gateway"
OF_SERVER = ["components/cpu", "components/mutual-tls", "components/access-key", "../monitoring"]
OF_GATEWAY = [*(f"gateway/components/{name}" for name in ("mutual-tls", "access-key", "callers-key")), MONITORING]
VARIANTS = ["alone", *COMPONENTS, MONITORING, "with the server"]


@pytest.fixture(scope="module", params=VARIANTS)
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, ...]:
    """The gateway as it is built, alone or with a component. With the server, only the gateway's objects."""
    name: str = request.param
    if name == "alone":
        return kustomize(KUBERNETES / "gateway")
    folder = tmp_path_factory.mktemp("overlay")
    if name == "with the server":
        return of_gateway(with_server(folder))
    return overlay(folder, "gateway", [name])


def with_server(folder: Path) -> tuple[Manifest, ...]:
    literals = ["SENTRITON_URL=dns:///sentriton-headless-next:8001"]
    settings = [{"name": "sentriton-gateway", "behavior": "merge", "literals": literals}]
    fields = {"nameSuffix": "-next", "namespace": "embeddings", "configMapGenerator": settings}
    return overlay(folder, "base gateway", [*OF_SERVER, *OF_GATEWAY], **fields)


def of_gateway(manifests: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
    return tuple(one for one in manifests if one["metadata"]["name"].startswith("sentriton-gateway"))


def pod(manifests: tuple[Manifest, ...]) -> tuple[Any, Any]:
    """The pod's labels and specification."""
    (deployment,) = of_kind(manifests, "Deployment")
    template = deployment["spec"]["template"]
    return template["metadata"]["labels"], template["spec"]


def container(manifests: tuple[Manifest, ...]) -> Any:
    (one,) = pod(manifests)[1]["containers"]
    return one


def selects(selector: Any, labels: dict[str, str]) -> bool:
    """As Kubernetes reads a label selector."""
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


@pytest.mark.parametrize("release", [NEWEST, OLDEST])
def test_its_objects_validate_strictly(manifests: tuple[Manifest, ...], release: str) -> None:
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(manifest, release, strict=True) == release
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": pod(manifests)[1]}
    assert kubernetes_validate.validate(whole, release, strict=True) == release
    assert dangling(manifests) == set()


def test_its_settings_are_those_of_the_command(manifests: tuple[Manifest, ...]) -> None:
    gateway = container(manifests)
    parse(gateway["args"])
    assert environment(manifests, gateway).keys() <= known_variables("gateway")


def test_its_pod_is_locked_up(manifests: tuple[Manifest, ...]) -> None:
    check_locked_up(pod(manifests)[1])
    resources = container(manifests)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert "cpu" not in resources["limits"], "throttling shows as latency"
    # The gateway admits 16 of the largest bodies. Their inputs, tokens and vectors take a multiple of their bytes.
    assert quantity(resources["limits"]["memory"]) >= 5 * 16 * GatewaySettings().gateway_max_body_mib * 2**20


def test_its_probes_ask_the_gateway(manifests: tuple[Manifest, ...]) -> None:
    gateway = container(manifests)
    (port,) = gateway["ports"]
    assert port["containerPort"] == GatewaySettings().gateway_port
    ready, alive = gateway["readinessProbe"], gateway["livenessProbe"]
    assert ready["httpGet"] == {"path": "/health", "port": port["name"]}
    assert ready["timeoutSeconds"] > application._HEALTH_TIMEOUT_S, "the gateway's own answer comes first"
    # A server that is down needs no restart of its gateways.
    assert alive["tcpSocket"] == {"port": port["name"]}
    (service,) = of_kind(manifests, "Service")
    (listed,) = service["spec"]["ports"]
    assert (listed["port"], listed["targetPort"]) == (port["containerPort"], port["name"])


def test_a_pod_that_goes_has_time_to_drain(manifests: tuple[Manifest, ...]) -> None:
    gateway = container(manifests)
    pre_stop_s = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
    exit_timeout_s = environment(manifests, gateway)["SENTRITON_GATEWAY_EXIT_TIMEOUT_S"]
    assert exit_timeout_s is not None
    assert pod(manifests)[1]["terminationGracePeriodSeconds"] >= pre_stop_s + float(exit_timeout_s) + 5
    (deployment,) = of_kind(manifests, "Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in deployment["spec"]


def test_every_selector_is_for_its_pods(manifests: tuple[Manifest, ...]) -> None:
    labels, spec = pod(manifests)
    (deployment,), (service,), (budget,), (policy,) = (
        of_kind(manifests, kind) for kind in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy")
    )
    server, _ = pod(kustomize(KUBERNETES / "overlays/cpu"))
    selectors = [
        deployment["spec"]["selector"],
        {"matchLabels": service["spec"]["selector"]},
        budget["spec"]["selector"],
        policy["spec"]["podSelector"],
        *(constraint["labelSelector"] for constraint in spec["topologySpreadConstraints"]),
    ]
    assert [selects(each, labels) for each in selectors] == [True] * 6
    assert not any(selects(each, server) for each in selectors)
    for monitor in of_kind(manifests, "ServiceMonitor"):
        assert selects(monitor["spec"]["selector"], service["metadata"]["labels"])
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_who_may_talk_to_whom(manifests: tuple[Manifest, ...]) -> None:
    labels, _ = pod(manifests)
    (policy,) = of_kind(manifests, "NetworkPolicy")
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    callers, prometheus = policy["spec"]["ingress"]
    (caller,) = callers["from"]
    assert caller["namespaceSelector"] == {}
    assert selects(caller["podSelector"], {"sentriton-gateway-client": "true"})
    assert not selects(caller["podSelector"], labels), "kustomize adds the gateway's labels to matchLabels"
    assert prometheus["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert callers["ports"] == prometheus["ports"] == [{"port": "http", "protocol": "TCP"}]
    _, names = policy["spec"]["egress"]
    assert names == {"ports": DNS}


def test_the_gateway_and_its_server_admit_each_other(manifests: tuple[Manifest, ...]) -> None:
    labels, _ = pod(manifests)
    (own,) = of_kind(manifests, "NetworkPolicy")
    server = kustomize(KUBERNETES / "overlays/cpu")
    (theirs,) = of_kind(server, "NetworkPolicy")
    server_labels, _ = pod(server)
    (grpc,) = [port for port in container(server)["ports"] if port["name"] == "grpc"]
    way_out, way_in = own["spec"]["egress"][0], theirs["spec"]["ingress"][0]
    assert way_out["ports"] == [{"port": grpc["containerPort"], "protocol": "TCP"}]
    assert way_in["ports"] == [{"port": grpc["name"], "protocol": "TCP"}]
    for (peer,), there in ((way_out["to"], server_labels), (way_in["from"], labels)):
        assert peer["namespaceSelector"] == {}, "in one namespace and in two"
        assert selects(peer["podSelector"], there)


def test_it_asks_the_service_of_its_server(tmp_path: Path) -> None:
    built = with_server(tmp_path)
    for gateway, server in (
        (kustomize(KUBERNETES / "gateway"), kustomize(KUBERNETES / "base")),
        (of_gateway(built), built),
    ):
        address = environment(gateway, container(gateway))["SENTRITON_URL"]
        assert address is not None
        assert ClientSettings(url=address)
        name, port = address.removeprefix("dns:///").split(":")
        (service,) = [one["spec"] for one in of_kind(server, "Service") if one["metadata"]["name"] == name]
        assert [str(one["port"]) for one in service["ports"]] == [port]


@pytest.mark.parametrize("name", ["access-key", "tls", "mutual-tls"])
def test_it_has_the_secrets_of_a_caller(name: str, tmp_path: Path) -> None:
    def read(of: str) -> tuple[Any, Any]:
        spec = workload(overlay(tmp_path / of, of, [f"{of}/components/{name}"]))
        variables = {one["name"]: one for one in spec["containers"][0]["env"]}
        return variables, {one["name"]: one for one in spec.get("volumes", [])}

    variables, volumes = read("gateway")
    of_caller, volumes_of_caller = read("caller")
    assert variables.items() <= of_caller.items()
    assert volumes.items() <= volumes_of_caller.items()


def workload(manifests: tuple[Manifest, ...]) -> Any:
    (one,) = [one for one in manifests if one["kind"] in ("Deployment", "Job")]
    return one["spec"]["template"]["spec"]


def test_its_callers_can_have_a_key_of_their_own(tmp_path: Path) -> None:
    manifests = overlay(tmp_path, "gateway", OF_GATEWAY)
    (secret,) = {*secrets(manifests)} - {"sentriton-keys", "sentriton-caller-tls"}
    variables = [one for one in container(manifests)["env"] if "valueFrom" in one]
    names = {one["name"]: one["valueFrom"]["secretKeyRef"]["name"] for one in variables}
    assert names == {"SENTRITON_ACCESS_KEY": "sentriton-keys", "SENTRITON_GATEWAY_ACCESS_KEY": secret}


def test_one_kustomization_has_both_with_an_image_each(tmp_path: Path) -> None:
    both = with_server(tmp_path / "both")
    own = of_gateway(both)
    alone = overlay(tmp_path / "alone", "base", OF_SERVER, nameSuffix="-next", namespace="embeddings")
    assert [one for one in both if one not in own] == list(alone)
    assert {name for one in own for name in images(one)} == {"sentriton:gateway"}
    assert {name for one in alone for name in images(one)} == {"sentriton:cpu"}


def test_links_to_its_service_set_no_variable_of_a_pod() -> None:
    """Kubernetes would set SENTRITON_GATEWAY_PORT, which is a setting, to an address such as tcp://10.0.0.1:8080."""
    (service,) = of_kind(kustomize(KUBERNETES / "gateway"), "Service")
    link = f"{service['metadata']['name']}_PORT".upper().replace("-", "_")
    assert link in known_variables("gateway") & known_variables("serve")
    specs = [pod(kustomize(KUBERNETES / name))[1] for name in ("gateway", "overlays/cpu", "overlays/gpu")]
    specs += [one["spec"]["predictor"] for one in of_kind(kustomize(KUBERNETES / "kserve"), "InferenceService")]
    assert [spec["enableServiceLinks"] for spec in specs] == [False] * 4
