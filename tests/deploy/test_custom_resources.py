"""The manifests of other projects' kinds, against the shapes that those projects publish: cloudcoil's models are made
from KEDA's and the Prometheus operator's definitions, and KServe's SDK from its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.manifests.files import KUBERNETES, MONITORING, kustomize, of_kind, read

INSTALLS = "make deploy installs it"
keda = pytest.importorskip("cloudcoil.models.keda.v1alpha1", reason=INSTALLS)
prometheus_operator = pytest.importorskip("cloudcoil.models.prometheus_operator.v1", reason=INSTALLS)
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
    # The models drop what they do not know.
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
    """What of `value` KServe's type does not have. Kubernetes' own types are looked at elsewhere, as a Pod's."""
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
