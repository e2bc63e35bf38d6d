"""docker/README.md says what is there: files, components, alerts, build arguments, command lines."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.manifests.command_lines import known_variables, parse
from tests.manifests.dockerfiles import values
from tests.manifests.files import DOCKER, KUBERNETES, MONITORING, read

GUIDE = (DOCKER / "README.md").read_text()
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


def table(header: str) -> set[str]:
    """What stands in code type in the first column of a table."""
    rows = GUIDE.split(f"\n| {header} ")[1].split("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_tables_name_what_is_there() -> None:
    components = {path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml")}
    assert table("component") == components | {"../monitoring"}
    assert table("alert") == {rule["alert"] for rule in read(MONITORING / "alerts.yaml")["groups"][0]["rules"]}
    arguments = {value.split("=")[0] for file in ("Dockerfile", "Dockerfile.cpu") for value in values(file, "ARG")}
    assert table("build argument") == arguments
    assert all((DOCKER / name).exists() for name in table("folder or file"))
    models = ("embed_tokens/1/metrics.py", "embed_text/1/model.py")
    metrics = "".join((ROOT / "model_repository" / model).read_text() for model in models)
    assert table("metric") == set(re.findall(r'"(sentriton_\w+)"', metrics))


def test_commands_name_files_that_are_there() -> None:
    named = {word for command in COMMANDS for word in shlex.split(command) if re.match(r"(docker|examples)/", word)}
    assert len(named) >= 5
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "-- sentriton " in line])
def test_command_lines_of_sentriton_parse(line: str) -> None:
    parse(shlex.split(line.split("-- sentriton ")[1]))


def test_settings_are_those_of_sentriton() -> None:
    assert set(re.findall(r"SENTRITON_\w+", GUIDE)) <= known_variables("serve")
    for flag in set(re.findall(r"`(--[a-z-]+)[ `]", GUIDE)):
        parse(["serve", flag, "1" if flag == "--trace-rate" else "http://collector:4318/v1/traces"])
