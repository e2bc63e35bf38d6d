"""The images without a container engine: the commands of their Dockerfiles, run in clean folders.

They end with a server, or a gateway before one, that passes the image's own health check.
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

import httpx
import numpy as np
import pytest
import torch

from sentriton import SentenceEncoder
from sentriton_server.repository import read_config, read_operators
from sentriton_server.serving import prepare_repository
from sentriton_server.serving.installation import find_installation
from tests.conftest import ROOT
from tests.manifests.dockerfiles import command, health_command, pinned, values, variables
from tests.manifests.files import DOCKER
from tests.ports import FREE_PORTS, with_free_ports
from tests.server.conftest import RunningServer

SENTENCE = "숙소가 역에서 가까워요."
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
    own = {"sentriton", "sentriton-gateway", "sentriton-server"}
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
def container(
    dockerfile: str, environment: Path, scratch: Path, models: Path = Path("/models"), **further: str
) -> Iterator[str]:
    """The image's command with the image's variables and `further` ones, locked up.

    Once its health check passes, yields the output of the check and of the command.
    """
    scratch.mkdir()
    replaced = {"/opt/sentriton": str(environment), "/tmp": str(scratch), "${PATH}": "/usr/bin:/bin"}
    settings = {
        name: re.sub("|".join(map(re.escape, replaced)), lambda found: replaced[found[0]], value)
        for name, value in variables(dockerfile).items()
    } | further
    words = [word.replace("/models", str(models)) for word in command(dockerfile)]
    output = scratch.with_suffix(".output")
    with output.open("w") as file:
        process = subprocess.Popen(
            [*locked_up(), environment / "bin" / words[0], *words[1:]], env=settings, cwd="/", stdout=file
        )
    check = [environment / "bin" / health_command(dockerfile)[0], *health_command(dockerfile)[1:]]
    try:
        for _ in range(60):
            assert process.poll() is None, "the command ended"
            health = subprocess.run(check, env=settings, capture_output=True, text=True, check=False, timeout=15)
            if health.returncode == 0:
                break
            time.sleep(0.5)
        assert health.returncode == 0, health.stdout + health.stderr
        yield health.stdout + output.read_text()
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()  # does nothing once it has ended
    assert process.returncode == 0


@contextmanager
def server_container(dockerfile: str, environment: Path, scratch: Path, models: Path, **further: str) -> Iterator[None]:
    """A server's container on free ports."""
    ports = with_free_ports(FREE_PORTS)
    addresses = {
        "SENTRITON_GRPC_PORT": str(ports.grpc_port),
        "SENTRITON_METRICS_PORT": str(ports.metrics_port),
        "SENTRITON_URL": f"localhost:{ports.grpc_port}",
    }
    with container(dockerfile, environment, scratch, models, **addresses, **further) as said:
        assert "canary cosine" in said
        assert "serving sentriton-ko-mini" in said
        yield


@pytest.fixture(scope="module")
def gateway_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gateway") / "opt/sentriton"
    install(folder, "gateway")
    return folder


@pytest.mark.timeout(400)
def test_the_gateway_image(
    gateway_environment: Path, server: RunningServer, encoder: SentenceEncoder, tmp_path: Path
) -> None:
    assert not {"torch", "transformers", "nvidia-pytriton", "sentriton-server"} & set(installed(gateway_environment))
    port = with_free_ports(FREE_PORTS).grpc_port
    further = {"SENTRITON_URL": server.url, "SENTRITON_GATEWAY_PORT": str(port)}
    with container("Dockerfile.gateway", gateway_environment, tmp_path / "tmp", **further) as said:
        assert '"model":"sentriton-ko-mini"' in said
        body = {"model": "sentriton-ko-mini", "input": SENTENCE}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/embeddings", json=body, timeout=60).raise_for_status()
    vector = answer.json()["data"][0]["embedding"]
    np.testing.assert_allclose(vector, encoder.encode(SENTENCE), atol=1e-6, rtol=0)


@pytest.mark.timeout(400)
def test_the_cpu_image(gateway_environment: Path, tmp_path: Path) -> None:
    environment, models = tmp_path / "opt/sentriton", tmp_path / "models"
    install(environment, "serve", "export", "triton")
    used = installed(environment).keys() | installed(gateway_environment).keys()
    assert pinned(DOCKER).keys() <= used, "no package of an earlier release stays pinned"
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
    with server_container("Dockerfile.cpu", environment, tmp_path / "tmp", models):
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
    with server_container("Dockerfile", environment, tmp_path / "tmp", models, **further):
        pass
