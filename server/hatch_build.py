"""Adds to pyproject.toml: the client's version, the requirements by part, folders of the checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

CLIENT = "client/python/sentriton/__init__.py"


class ClientVersion(MetadataHookInterface):
    """The server has the client's version and requires exactly that client."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        server = Path(self.root)
        version = re.search(r'^__version__ = "(.+)"$', (server.parent / CLIENT).read_text(), re.MULTILINE)
        if version is None:
            raise ValueError(f'{CLIENT} has no line __version__ = "…"')
        metadata["version"] = version[1]
        lines = [line for file in self.config["requirements"] for line in (server / file).read_text().splitlines()]
        metadata["dependencies"] = [
            f"sentriton=={version[1]}",
            *(line for line in lines if line and not line.startswith("#")),
        ]


class Resources(BuildHookInterface[Any]):
    """Copies folders of the checkout into the wheel. An editable install reads the folders of the checkout."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= {
                str(Path(self.root).parent / folder): f"sentriton_server/_resources/{folder}"
                for folder in self.config["resources"]
            }
