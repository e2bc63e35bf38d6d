"""The images without a container engine: the commands of their Dockerfiles, run in clean folders.

They end with a server that passes the image's own health check.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sentriton_server.repository import read_config, read_operators
from sentriton_server.serving import prepare_repository
from sentriton_server.serving.installation import find_installation
from sentriton_server.settings import ServerSettings
from tests.conftest import ROOT
from tests.manifests.dockerfiles import command, health_command, pinned, values, variables
from tests.manifests.files import DOCKER
from tests.ports import with_free_ports

OF_CUDA = re.compile(r"triton|cuda-\w+|nvidia-(?!pytriton).+")


def installed(folder: Path) -> dict[str, str]:
    """Versions of the packages in an environment, by normalized name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin/python", "list", "--format=json"],
        capture_output=True,
        check=True,
    )
    return {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] for one in json.loads(listed.stdout)}


def install(folder: Path, *parts: str) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    subprocess.run([DOCKER / "install.sh", ROOT, folder, *parts], env=environment, check=True, timeout=280)
    own = {"sentriton", "sentriton-server"}
    packages = {name: version.split("+")[0] for name, version in installed(folder).items() if name not in own}
    # The requirements of PyPI's torch, in the versions that it names. PyTorch's CPU build has none of them.
    found = {name: version for name, version in packages.items() if not OF_CUDA.fullmatch(name)}
    assert found.items() <= pinned(ROOT, DOCKER).items(), "every package of an image is pinned"
    # setuptools is torch's: it imports it at run time.
    assert not {"pip", "wheel", "hatchling"} & set(found), "no build tool is left"


def locked_up() -> list[str]:
    """A prefix that gives a command the rights of a container of the manifests.

    Only /tmp and /dev/shm can be written to, and the command has no capabilities. Only root can drop these rights:
    other users run the command unchanged.
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
    install(environment, "serve", "export", "triton")
    assert pinned(DOCKER).keys() <= installed(environment).keys(), "no package of an earlier release stays pinned"
    arguments = {name: value for name, _, value in (line.partition("=") for line in values("Dockerfile.cpu", "ARG"))}
    baked = subprocess.run(
        [
            DOCKER / "bake.sh",
            environment,
            models / "repository",
            ROOT / arguments["CHECKPOINT"],
            arguments["PRECISION"],
            arguments["CORES"],
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "exported sentriton-ko-mini" in baked.stdout
    assert read_config(models / "repository", "encoder").instance_group[0].count == int(arguments["CORES"])
    has_operators = platform.machine() == "x86_64" and shutil.which("g++", path="/usr/bin:/bin")
    assert read_operators(models / "repository") == ("sentriton" if has_operators else "torch")
    subprocess.run([DOCKER / "strip.sh", environment], check=True)
    assert not list(environment.glob("lib/python*/site-packages/torch/include"))
    with container("Dockerfile.cpu", environment, models, tmp_path / "tmp"):
        pass


@pytest.mark.timeout(400)
def test_the_gpu_image_on_a_triton_of_its_base(tmp_path: Path) -> None:
    # The base image brings tritonserver, its backends and libtorch; the wheel's Triton and stand-in take their place.
    environment, models = tmp_path / "opt/sentriton", tmp_path / "models"
    install(environment, "serve")
    assert not {"torch", "nvidia-pytriton"} & set(installed(environment)), "libtorch comes with the base"
    models.mkdir()
    (models / "repository").symlink_to(prepare_repository(None, precision="fp32", device="cpu", operators="torch"))
    triton = find_installation()
    backends = triton.backend_arguments(tmp_path / "opt/tritonserver")
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
