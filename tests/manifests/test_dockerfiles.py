"""The Dockerfiles as files: they run scripts, their command lines parse, and the last stage builds nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.manifests.command_lines import known_variables, parse
from tests.manifests.dockerfiles import command, health_command, instructions, pinned, values, variables
from tests.manifests.files import DOCKER, read

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCKERFILES = ["Dockerfile", "Dockerfile.cpu", "Dockerfile.gateway"]
USER = "10001:10001"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_what_it_runs_are_scripts_and_what_it_starts_is_sentriton(dockerfile: str) -> None:
    for line in values(dockerfile, "RUN"):
        script, *_ = line.split()
        assert os.access(ROOT / script, os.X_OK), f"{line}: the commands must be in a script that the tests run"
    program, *arguments = command(dockerfile)
    assert program == "sentriton"
    parse(arguments)
    names = {name for name in variables(dockerfile) if name.startswith("SENTRITON_")}
    assert names <= known_variables(arguments[0])


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_its_health_check_exists(dockerfile: str) -> None:
    program, *arguments = health_command(dockerfile)
    if program == "python":
        option, module = arguments
        assert option == "-m"
        assert find_spec(module)
    else:
        assert program == "sentriton"
        parse(arguments)


def test_the_encoders_operators_are_compiled_before_what_they_need_is_removed() -> None:
    steps = [Path(line.split()[0]).name for line in values("Dockerfile.cpu", "RUN")]
    assert steps == ["compiler.sh", "install.sh", "bake.sh", "strip.sh"]
    scripts = {name: (ROOT / "docker" / name).read_text() for name in steps}
    assert [name for name, script in scripts.items() if "torch/include" in script] == ["strip.sh"]
    assert "docker/strip.sh /opt/sentriton" in values("Dockerfile", "RUN")[0]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_health_checks_have_options_of_every_engine(dockerfile: str) -> None:
    # Engines before Docker 25, and buildah, refuse --start-interval.
    (check,) = values(dockerfile, "HEALTHCHECK")
    assert set(re.findall(r"--([a-z-]+)=", check)) == {"interval", "timeout", "start-period", "retries"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_last_stage_runs_nothing_and_is_no_root(dockerfile: str) -> None:
    steps = instructions(dockerfile)
    last = [entry["instruction"] for entry in steps][
        max(i for i, e in enumerate(steps) if e["instruction"] == "FROM") :
    ]
    assert "RUN" not in last, "nothing is built there, so no build tool is needed there"
    assert values(dockerfile, "USER") == [USER]
    build, final = values(dockerfile, "FROM")
    assert build.removesuffix(" AS builder") == final
    assert re.search(r"\$\{\w+\}", final), "the base's release is an argument"


def test_everything_that_the_scripts_read_travels_to_the_builder() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert "*" in patterns
    assert all((ROOT / name).exists() for name in sent)
    wheel = tomllib.loads((ROOT / "server/pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {"gateway", "server", *wheel["hooks"]["custom"]["resources"]} < sent


def test_compose_builds_them_with_settings_that_exist() -> None:
    services = [one for one in read(DOCKER / "compose.yaml")["services"].values() if "build" in one]
    assert len(services) == 2
    for service in services:
        dockerfile = Path(service["build"]["dockerfile"]).name
        assert dockerfile in DOCKERFILES
        assert service["environment"].keys() <= known_variables(command(dockerfile)[1])
        ports = {port.split(":")[-1] for port in service["ports"]}
        assert ports <= set(values(dockerfile, "EXPOSE")[0].split())


def test_an_interpreter_without_the_pinned_packages_is_refused_at_once(tmp_path: Path) -> None:
    older = tmp_path / "python"
    code = "import sys; sys.version_info = (3, 10, 13); exec(sys.stdin.read())"
    older.write_text(f"#!/bin/sh\nshift\nexec {sys.executable} -c '{code}' \"$@\"\n")
    older.chmod(0o755)
    command = [ROOT / "docker/install.sh", ROOT, tmp_path / "environment", "serve"]
    refused = subprocess.run(
        command, env={**os.environ, "PYTHON": str(older)}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.endswith("is Python 3.10; the pinned packages need 3.11 or 3.12; take a base image that has it")
    assert not (tmp_path / "environment").exists()


def test_an_image_has_each_package_pinned_in_one_place() -> None:
    """Two pins of a package would part at the next change of one of them."""
    assert pinned(ROOT, DOCKER).keys() > pinned(ROOT).keys()
