"""Reads the Dockerfiles."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

from tests.manifests.files import DOCKER


def instructions(dockerfile: str) -> list[dict[str, Any]]:
    with (DOCKER / dockerfile).open("rb") as file:
        structure: list[dict[str, Any]] = DockerfileParser(fileobj=io.BytesIO(file.read())).structure
    return [entry for entry in structure if entry["instruction"] != "COMMENT"]


def values(dockerfile: str, instruction: str) -> list[str]:
    return [entry["value"] for entry in instructions(dockerfile) if entry["instruction"] == instruction]


def variables(dockerfile: str) -> dict[str, str]:
    """The environment that the image's last stage sets."""
    assignments = shlex.split(values(dockerfile, "ENV")[-1])
    return dict(assignment.split("=", 1) for assignment in assignments)


def command(dockerfile: str) -> list[str]:
    """The command of a container."""
    (entrypoint,), (arguments,) = values(dockerfile, "ENTRYPOINT"), values(dockerfile, "CMD")
    words: list[str] = json.loads(entrypoint) + json.loads(arguments)
    return words


def health_command(dockerfile: str) -> list[str]:
    (check,) = values(dockerfile, "HEALTHCHECK")
    words: list[str] = json.loads(check.split("CMD", 1)[1])
    return words


def pinned(*folders: Path) -> dict[str, str]:
    """Versions of the packages that the folders' constraints pin, by normalized name."""
    lines = [line for folder in folders for line in (folder / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if "==" in line]
    names = [re.sub(r"[-_.]+", "-", name).lower() for name, _ in pairs]
    assert len(names) == len(set(names)), "a package is pinned in one place"
    return dict(zip(names, (version for _, version in pairs), strict=True))
