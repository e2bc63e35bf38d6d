"""Reads the guide of docker/ and of the gateway in a cluster: commands, and the kustomizations beside a checkout."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.conftest import ROOT
from tests.manifests.files import DOCKER, Manifest, kustomize

PAGES = ("README.md", "kubernetes.md", "certificates.md", "sizing.md")
GATEWAY = (ROOT / "docs/gateway.md").read_text(encoding="utf-8").split("\n### In a cluster\n")[1]
GUIDE = "".join((DOCKER / page).read_text() for page in PAGES) + GATEWAY
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
# Texts by folder.
KUSTOMIZATIONS: dict[str, str] = dict(re.findall(r"```yaml\n# (\w+)/kustomization\.yaml\n(.*?)```", GUIDE, re.DOTALL))


# Lists of patches that a reader adds to a kustomization, each by the kind of its first target and the target's name.
FURTHER_PATCHES: dict[str, str] = {
    "/".join(filter(None, target)): block
    for block, *target in re.findall(
        r"```yaml\n(patches:\n  - target: {kind: ([\w|]+)(?:, name: ([\w-]+))?.*?)```", GUIDE, re.DOTALL
    )
}
# Lists of components, added alike, each by the folder of its resource.
FURTHER_COMPONENTS: dict[str, str] = {
    folder: block
    for block, folder in re.findall(
        r"```yaml\n(components:\n  - \.\./sentriton/docker/kubernetes/([\w-]+).*?)```", GUIDE, re.DOTALL
    )
}


def follow(name: str, folder: Path, further: str = "") -> tuple[Manifest, ...]:
    """Write a kustomization of the guide into `folder`, which then has a checkout, and build it with further lists."""
    (folder / "sentriton").symlink_to(ROOT)
    (folder / name).mkdir()
    kustomization = yaml.safe_load(KUSTOMIZATIONS[name])
    for field, values in (yaml.safe_load(further) or {}).items():
        kustomization[field] = kustomization.get(field, []) + values
    (folder / name / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomize(folder / name)
