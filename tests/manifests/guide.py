"""Reads the guide of docker/: its commands, and the kustomizations that its reader writes beside a checkout."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT
from tests.manifests.files import DOCKER, Manifest, kustomize

GUIDE = "".join((DOCKER / page).read_text() for page in ("README.md", "certificates.md"))
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
# Texts by folder.
KUSTOMIZATIONS: dict[str, str] = dict(re.findall(r"```yaml\n# (\w+)/kustomization\.yaml\n(.*?)```", GUIDE, re.DOTALL))


def follow(name: str, folder: Path) -> tuple[Manifest, ...]:
    """Write a kustomization of the guide into `folder`, which then has a checkout, and build it."""
    (folder / "sentriton").symlink_to(ROOT)
    (folder / name).mkdir()
    (folder / name / "kustomization.yaml").write_text(KUSTOMIZATIONS[name])
    return kustomize(folder / name)
