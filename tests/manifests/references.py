"""The references of manifests: images, Secrets, and the other objects of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tests.manifests.files import Manifest


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every field below `value`, with its name."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield name, one
            yield from walk(one)
    elif isinstance(value, list):
        for one in value:
            yield from walk(one)


def images(manifest: Manifest) -> set[str]:
    return {value for name, value in walk(manifest) if name == "image"}


def secrets(manifests: Iterable[Manifest]) -> Iterator[str]:
    """The Secrets that pods mount or read."""
    for name, value in walk(list(manifests)):
        if name == "secretName":
            yield value
        elif name == "secretKeyRef":
            yield value["name"]


def dangling(manifests: tuple[Manifest, ...]) -> set[str]:
    """ConfigMaps, claims, service accounts and scaled Deployments that `manifests` use and do not have."""
    known = {f"{one['kind']}/{one['metadata']['name']}" for one in manifests}
    used = set()
    for name, value in walk(list(manifests)):
        if name == "configMapRef":
            used.add(f"ConfigMap/{value['name']}")
        elif name == "persistentVolumeClaim":
            used.add(f"PersistentVolumeClaim/{value['claimName']}")
        elif name == "serviceAccountName":
            used.add(f"ServiceAccount/{value}")
        elif name == "scaleTargetRef":
            used.add(f"Deployment/{value['name']}")
    return used - known
