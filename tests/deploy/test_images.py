"""The images without a container engine: what their Dockerfiles run, run in clean folders, ends with a server that
passes the image's own health check.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from dockerfile_parse import DockerfileParser

from sentriton_server.serving import prepare_repository
from sentriton_server.serving.installation import find_installation
from sentriton_server.serving.preflight import with_free_ports
from sentriton_server.serving.settings import ServerSettings
from tests.conftest import ROOT
from tests.deploy.command_lines import known_variables, parse
from tests.deploy.conftest import DOCKER

DOCKERFILES = ["Dockerfile", "Dockerfile.cpu"]
USER = "10001:10001"


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
    """What a container runs."""
    (entrypoint,), (arguments,) = values(dockerfile, "ENTRYPOINT"), values(dockerfile, "CMD")
    words: list[str] = json.loads(entrypoint) + json.loads(arguments)
    return words


def health_command(dockerfile: str) -> list[str]:
    (check,) = values(dockerfile, "HEALTHCHECK")
    words: list[str] = json.loads(check.split("CMD", 1)[1])
    return words


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_what_it_runs_are_scripts_and_what_it_starts_is_sentriton(dockerfile: str) -> None:
    for line in values(dockerfile, "RUN"):
        script, *_ = line.split()
        assert os.access(ROOT / script, os.X_OK), f"{line}: what runs is to stand in a script that the tests run"
    for words in (command(dockerfile), health_command(dockerfile)):
        assert words[0] == "sentriton"
        parse(words[1:])
    names = {name for name in variables(dockerfile) if name.startswith("SENTRITON_")}
    assert names <= known_variables("serve")


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
    packaged = (
        (ROOT / "pyproject.toml")
        .read_text()
        .split("force-include]")[1]
        .split("[tool.hatch.build.targets.wheel.sources]")[0]
    )
    assert set(re.findall(r'^"(\w+)" =', packaged, re.MULTILINE)) < sent


def installed(folder: Path) -> dict[str, str]:
    """Versions of the packages in an environment, by normalized name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin/python", "list", "--format=json"],
        capture_output=True,
        check=True,
    )
    return {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] for one in json.loads(listed.stdout)}


def pinned() -> dict[str, str]:
    lines = [line for folder in (ROOT, DOCKER) for line in (folder / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if "==" in line]
    names = [re.sub(r"[-_.]+", "-", name).lower() for name, _ in pairs]
    assert len(names) == len(set(names)), "a package is pinned in one place"
    return dict(zip(names, (version for _, version in pairs), strict=True))


def install(folder: Path, extras: str) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    subprocess.run([DOCKER / "install.sh", ROOT, folder, extras], env=environment, check=True, timeout=280)
    found = {name: version.split("+")[0] for name, version in installed(folder).items() if name != "sentriton"}
    assert found.items() <= pinned().items(), "every package of an image is pinned"
    # setuptools is torch's: it imports it at run time.
    assert not {"pip", "wheel", "hatchling"} & set(found), "no build tool is left"


def locked_up() -> list[str]:
    """What a container of the manifests is allowed, for a command after it: /tmp and /dev/shm alone can be written to,
    and there are no capabilities. It takes root to give up so much; others run as they are.
    """
    if os.geteuid() != 0:
        return []
    mounts = 'mount --bind /tmp /tmp && mount -o remount,bind,ro / && exec "$@"'
    capabilities = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    return ["unshare", "--mount", "sh", "-c", mounts, "sh", "setpriv", *capabilities]


@contextmanager
def container(dockerfile: str, environment: Path, models: Path, scratch: Path, **further: str) -> Iterator[None]:
    """The image's command with the image's variables on free ports, locked up; yields once its health check passes."""
    scratch.mkdir()
    ports = with_free_ports(ServerSettings(grpc_port=0, metrics_port=0))
    replaced = {"/opt/sentriton": str(environment), "/tmp": str(scratch), "${PATH}": "/usr/bin:/bin"}
    settings = {
        name: re.sub("|".join(map(re.escape, replaced)), lambda found: replaced[found[0]], value)
        for name, value in variables(dockerfile).items()
    } | {
        "SENTRITON_GRPC_PORT": str(ports.grpc_port),
        "SENTRITON_METRICS_PORT": str(ports.metrics_port),
        "SENTRITON_URL": f"localhost:{ports.grpc_port}",
        **further,
    }
    words = [word.replace("/models", str(models)) for word in command(dockerfile)]
    process = subprocess.Popen(
        [*locked_up(), environment / "bin" / words[0], *words[1:]],
        env=settings,
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    )
    check = [environment / "bin/sentriton", *health_command(dockerfile)[1:]]
    try:
        for _ in range(60):
            assert process.poll() is None, "the server ended"
            health = subprocess.run(check, env=settings, capture_output=True, text=True, check=False, timeout=15)
            if health.returncode == 0:
                break
            time.sleep(0.5)
        assert health.returncode == 0, health.stderr
        assert "canary cosine" in health.stdout
        yield
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "serving sentriton-ko-mini" in output


@pytest.mark.timeout(400)
def test_the_cpu_image(tmp_path: Path) -> None:
    environment, models = tmp_path / "opt/sentriton", tmp_path / "models"
    install(environment, "server")
    arguments = {name: value for name, _, value in (line.partition("=") for line in values("Dockerfile.cpu", "ARG"))}
    baked = subprocess.run(
        [
            DOCKER / "bake.sh",
            environment,
            models / "repository",
            ROOT / arguments["CHECKPOINT"],
            arguments["PRECISION"],
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "exported sentriton-ko-mini" in baked.stdout
    with container("Dockerfile.cpu", environment, models, tmp_path / "tmp"):
        pass


@pytest.mark.timeout(400)
def test_the_gpu_image_on_a_triton_of_its_base(tmp_path: Path) -> None:
    # The base image brings tritonserver, its backends and libtorch; the wheel's Triton and stand-in take their place.
    environment, models = tmp_path / "opt/sentriton", tmp_path / "models"
    install(environment, "serve")
    assert not {"torch", "nvidia-pytriton"} & set(installed(environment)), "libtorch comes with the base"
    models.mkdir()
    (models / "repository").symlink_to(prepare_repository(None, precision="fp32", device="cpu"))
    triton = find_installation()
    backends = triton.write_backends(tmp_path / "opt/tritonserver/backends")
    libtorch = tmp_path / "opt/libtorch"
    libtorch.mkdir()
    site_packages = Path(torch.__file__).parents[1]
    for package in (
        "torch torchgen functorch typing_extensions.py sympy mpmath networkx jinja2 markupsafe fsspec filelock".split()
    ):
        (libtorch / package).symlink_to(site_packages / package)
    # The stubs do not read PYTHONPATH.
    next(environment.glob("lib/python*/site-packages")).joinpath("libtorch.pth").write_text(f"{libtorch}\n")
    base = tmp_path / "opt/tritonserver/bin/tritonserver"
    base.parent.mkdir()
    base.write_text(f'#!/bin/sh\nexec {triton.binary} {shlex.join(backends)} "$@"\n')
    base.chmod(0o755)
    further = {
        "PATH": f"{environment}/bin:{base.parent}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": triton.environment["LD_LIBRARY_PATH"],
    }
    with container("Dockerfile", environment, models, tmp_path / "tmp", **further):
        pass
