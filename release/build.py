"""Builds the distributions. All have the version in client/python/sentriton/__init__.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "client/python"
GATEWAY = ROOT / "gateway"
SERVER = ROOT / "server"
NODE = ROOT / "client/node"


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of a folder with a pyproject.toml by this environment's hatchling, without a network."""
    return Path(next(WheelBuilder(str(project)).build(directory=str(folder), versions=["standard"])))


def build_node(folder: Path, version: str) -> Path:
    """Set the version of the Node client, and pack it."""
    if node_versions() != {version}:
        npm = ["npm", "version", "--no-git-tag-version", "--allow-same-version", version]
        subprocess.run(npm, cwd=NODE, stdout=subprocess.DEVNULL, check=True)
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(folder)],
        cwd=NODE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return folder / packed.split()[-1]


def node_versions() -> set[str]:
    """The versions in package.json and package-lock.json. If they differ, the release sets both to the client's."""
    package, lock = (json.loads((NODE / name).read_text()) for name in ("package.json", "package-lock.json"))
    return {package["version"], lock["version"], lock["packages"][""]["version"]}
