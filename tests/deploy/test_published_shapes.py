"""Files for other projects against the shapes that those projects publish.

cloudcoil's models are made from the definitions of KEDA and the Prometheus operator. The SDKs of KServe and Grafana
are made from their own, and compose-spec follows Compose's.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.manifests.files import DOCKER, KUBERNETES, MONITORING, kustomize, of_kind, read

INSTALLS = "make deploy installs it"
keda = pytest.importorskip("cloudcoil.models.keda.v1alpha1", reason=INSTALLS)
prometheus_operator = pytest.importorskip("cloudcoil.models.prometheus_operator.v1", reason=INSTALLS)
compose_spec = pytest.importorskip("compose_spec", reason=INSTALLS)
grafana = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason=INSTALLS)
# Unpacked by `make deploy` and not imported: the SDK wants older packages than the server.
KSERVE = ROOT / "build/kserve/kserve/models"
SCALARS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (int, float)}


@pytest.mark.parametrize(
    ("shape", "file"),
    [
        (keda.ScaledObject, KUBERNETES / "components/autoscaling-keda/scaledobject.yaml"),
        (prometheus_operator.ServiceMonitor, MONITORING / "servicemonitor.yaml"),
        (prometheus_operator.PrometheusRule, MONITORING / "prometheusrule.yaml"),
    ],
)
def test_published_models_take_all_of_a_manifest(shape: Any, file: Any) -> None:
    def taken(manifest: Any) -> Any:
        return shape.model_validate(manifest).model_dump(mode="json", by_alias=True, exclude_unset=True)

    manifest = read(file)
    assert taken(manifest) == manifest
    # The models drop unknown fields.
    manifest["spec"]["misspelt"] = 1
    assert taken(manifest) != manifest


@cache
def kserve_fields() -> dict[str, dict[str, str]]:
    """The type of each field by its name in a manifest, for each of KServe's types."""
    fields = {}
    for file in KSERVE.glob("v1*.py"):
        (kind,) = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
        tables = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in kind.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        names = tables["attribute_map"]
        fields[kind.name] = {names[name]: type_ for name, type_ in tables["openapi_types"].items()}
    return fields


def complaints(value: Any, kind: str, place: str) -> Iterator[str]:
    """The parts of `value` that KServe's type does not have. Another test checks Kubernetes' own types, as a Pod's."""
    if several := re.fullmatch(r"list\[(.+)\]", kind):
        assert isinstance(value, list), place
        for at, one in enumerate(value):
            yield from complaints(one, several[1], f"{place}[{at}]")
    elif kind in SCALARS and not isinstance(value, SCALARS[kind]):
        yield f"{place} is {value!r} and no {kind}"
    elif fields := kserve_fields().get(kind):
        for name, one in value.items():
            if name in fields:
                yield from complaints(one, fields[name], f"{place}.{name}")
            else:
                yield f"{place}.{name} is unknown to {kind}"


@pytest.mark.skipif(not KSERVE.is_dir(), reason=f"needs KServe's SDK; {INSTALLS}")
def test_kserve_takes_all_of_its_manifests() -> None:
    (runtime,) = of_kind(kustomize(KUBERNETES / "kserve"), "ServingRuntime")
    (service,) = of_kind(kustomize(KUBERNETES / "kserve"), "InferenceService")
    assert not list(complaints(runtime, "V1alpha1ServingRuntime", "ServingRuntime"))
    assert not list(complaints(service, "V1beta1InferenceService", "InferenceService"))
    service["spec"]["predictor"]["model"]["storageUrl"] = "pvc://"
    (complaint,) = complaints(service, "V1beta1InferenceService", "InferenceService")
    assert complaint == "InferenceService.spec.predictor.model.storageUrl is unknown to V1beta1ModelSpec"


def test_grafana_takes_all_of_the_dashboard() -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())

    def taken(dashboard: Any) -> Any:
        return json.loads(JSONEncoder().encode(grafana.Dashboard.from_json(dashboard)))

    assert missing(dashboard, taken(dashboard)) == []
    dashboard["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"
    assert missing(dashboard, taken(dashboard)) == [".panels[0].fieldConfig.defaults.units"]


def missing(given: Any, taken: Any, place: str = "") -> list[str]:
    """The parts of `given` that are not in `taken`, which may have defaults besides."""
    if isinstance(given, dict) and isinstance(taken, dict):
        gone = [f"{place}.{name}" for name in given.keys() - taken.keys()]
        return gone + [
            one for name in given.keys() & taken for one in missing(given[name], taken[name], f"{place}.{name}")
        ]
    if isinstance(given, list) and isinstance(taken, list) and len(given) == len(taken):
        pairs = enumerate(zip(given, taken, strict=True))
        return [one for at, (mine, theirs) in pairs for one in missing(mine, theirs, f"{place}[{at}]")]
    return [] if given == taken else [place]


def test_compose_takes_all_of_its_file() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    assert yaml.safe_load(compose_spec.PyCompose.from_yaml(text).to_yaml()) == yaml.safe_load(text)
    with pytest.raises(ValueError, match="shm_sise"):
        compose_spec.PyCompose.from_yaml(text.replace("shm_size", "shm_sise"))
