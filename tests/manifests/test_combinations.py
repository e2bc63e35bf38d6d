"""Combinations of components: each pair of choices of two groups is in one that is rendered, validated and complete."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import kubernetes_validate
import pytest

from tests.manifests.files import KUBERNETES, of_kind, overlay
from tests.manifests.references import dangling, images
from tests.manifests.test_kubernetes import CUSTOM, NEWEST

GROUPS = [
    ["cpu", "gpu"],
    ["", "repository-volume", "repository-export"],
    ["", "tls", "mutual-tls"],
    ["", "autoscaling-keda", "autoscaling-adapter"],
    ["", "access-key"],
    ["", "tracing"],
    ["", "../../monitoring"],
]
# An init container has no GPU: exports for GPUs are the Job's.
EXCLUDED = {"gpu", "repository-export"}
Combination = tuple[str, ...]


def pairs(combination: Combination) -> set[tuple[int, str, int, str]]:
    indexed = list(enumerate(combination))
    return {(i, first, j, second) for (i, first), (j, second) in combinations(indexed, 2)}


def covering() -> list[Combination]:
    """Few combinations that have every pair, each time the one that has most of the missing ones."""
    everything = [one for one in product(*GROUPS) if not set(one) >= EXCLUDED]
    missing = set().union(*map(pairs, everything))
    chosen = []
    while missing:
        best = max(everything, key=lambda one: len(pairs(one) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def test_the_groups_have_every_component() -> None:
    components = {path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml")}
    assert {name for group in GROUPS for name in group if name} == components | {"../../monitoring"}


@pytest.mark.parametrize("combination", covering(), ids=lambda one: "+".join(filter(None, one)))
def test_components_combine(combination: Combination, tmp_path: Path) -> None:
    components = [f"components/{name}" for name in combination if name]
    manifests = overlay(tmp_path, components=components, nameSuffix="-next", namespace="embeddings")
    for manifest in manifests:
        assert manifest["metadata"]["namespace"] == "embeddings"
        if manifest["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(manifest, NEWEST, strict=True) == NEWEST
    assert dangling(manifests) == set()
    (image,) = {image for manifest in manifests for image in images(manifest)}
    assert image == f"sentriton:{combination[0]}"
    (deployment,) = of_kind(manifests, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    volumes = [volume["name"] for volume in pod["volumes"]]
    assert len(volumes) == len(set(volumes))
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        names = [entry["name"] for entry in container["env"]]
        assert len(names) == len(set(names))
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
