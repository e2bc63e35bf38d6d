"""Where docker/ is, the manifests as they are built, and the programs that it takes to read it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT, cannot_run

DOCKER = ROOT / "docker"
KUBERNETES = DOCKER / "kubernetes"
MONITORING = DOCKER / "monitoring"
Manifest = dict[str, Any]


def needed(command: str, package: str) -> str:
    """The path of a program. Where it is missing the test is skipped, and fails in CI."""
    found = shutil.which(command)
    if found is None:
        cannot_run(f"needs {command} on PATH ({package})")
    return found


def tool(name: str) -> str:
    """prometheus, promtool or helm: as `make prometheus` and `make helm` put them into build/, or on PATH."""
    target, folder = ("helm", "build/helm") if name == "helm" else ("prometheus", "build/prometheus/usr/bin")
    unpacked = ROOT / folder / name
    return str(unpacked) if unpacked.is_file() else needed(name, f"make {target}")


@cache
def kustomize(folder: Path) -> tuple[Manifest, ...]:
    """The objects that `kubectl apply --kustomize FOLDER` would apply."""
    kubectl = needed("kubectl", "1.27 or later")
    built = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    # There kubectl names the outdated fields of a kustomization.
    assert not built.stderr, built.stderr
    return tuple(yaml.safe_load_all(built.stdout))


def overlay(
    folder: Path, resources: str = "base", components: Sequence[str] = (), **fields: object
) -> tuple[Manifest, ...]:
    """A user's kustomization in `folder`, of names below docker/kubernetes and further fields, as it is built."""
    kubernetes = os.path.relpath(KUBERNETES.resolve(), folder.resolve())
    kustomization = {
        "resources": [f"{kubernetes}/{resource}" for resource in resources.split()],
        "components": [f"{kubernetes}/{component}" for component in components],
        **fields,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomize(folder)


def read(file: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(file.read_text())


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]
