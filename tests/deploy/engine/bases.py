"""The images that ours start from: pulled, or made of Debian's packages under the same names where no registry answers.

Stand-ins differ from the originals in their Python (Debian's instead of python.org's) and in their age. They are enough
for the instructions of our Dockerfiles, and for the containers' restrictions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.deploy.engine.docker import Docker
from tests.manifests.dockerfiles import values
from tests.manifests.files import DOCKER, read, tool

PYTHON = f"python:{dict(value.split('=', 1) for value in values('Dockerfile.cpu', 'ARG') if '=' in value)['PYTHON']}"
GPU_BASE = values("Dockerfile", "FROM")[-1].replace(
    "${TRITON_RELEASE}", values("Dockerfile", "ARG")[0].removeprefix("TRITON_RELEASE=")
)
PROMETHEUS = read(DOCKER / "compose.yaml")["services"]["prometheus"]["image"]
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# The stub of Triton's Python backend is linked against libpython; python.org's images have theirs.
_PACKAGES = "python3,python3-venv,python3-pip,libpython3.11,ca-certificates"
_PULL_S = 30


def load_bases(docker: Docker, folder: Path) -> None:
    """Have the base images of Dockerfile.cpu and of Compose's Prometheus in the engine."""
    if not _pulled(docker, PYTHON):
        _import_debian(docker, folder)
    if not _pulled(docker, PROMETHEUS):
        _build_prometheus(docker, folder)


def load_gpu_base(docker: Docker, cpu_image: str) -> None:
    """Have the base image of Dockerfile in the engine, or the CPU image's Triton in its place if it cannot be pulled.

    An engine that is not the tests' own pulls it when it builds.
    """
    if docker.is_of_tests and not _pulled(docker, GPU_BASE):
        arguments = {"PYTHON": PYTHON, "CPU_IMAGE": cpu_image}.items()
        options = [option for name, value in arguments for option in ("--build-arg", f"{name}={value}")]
        docker.build(*options, "--tag", GPU_BASE, Path(__file__).parent / "gpu_base")


def _pulled(docker: Docker, image: str) -> bool:
    try:
        docker("pull", "--quiet", image, timeout_s=_PULL_S)
    except (AssertionError, subprocess.TimeoutExpired):
        return False
    return True


def _import_debian(docker: Docker, folder: Path) -> None:
    archive, context = folder / "debian.tar", folder / "base"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", archive],
        check=True,
        timeout=600,
    )
    docker("import", archive, "sentriton-test:debian", timeout_s=120)
    archive.unlink()
    # The authorities and the package index of this machine hold in builds as well.
    context.mkdir()
    shutil.copy(AUTHORITIES, context)
    index = "".join(f"{name} = {os.environ[variable]}\n" for name, variable in _PIP.items() if variable in os.environ)
    (context / "pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}\n{index}")
    (context / "Dockerfile").write_text(
        f"FROM sentriton-test:debian\nCOPY {AUTHORITIES.name} {AUTHORITIES}\nCOPY pip.conf /etc/pip.conf\n"
    )
    docker.build("--tag", PYTHON, context)


_PIP = {"index-url": "PIP_INDEX_URL", "extra-index-url": "PIP_EXTRA_INDEX_URL"}


def _build_prometheus(docker: Docker, folder: Path) -> None:
    context = folder / "prometheus"
    context.mkdir()
    for name in ("prometheus", "promtool"):
        shutil.copy(tool(name), context)
    (context / "Dockerfile").write_text(
        f"FROM {PYTHON}\n"
        "COPY prometheus promtool /bin/\n"
        "RUN mkdir /prometheus && chown 65534 /prometheus\n"
        "USER 65534\n"
        "WORKDIR /prometheus\n"
        'ENTRYPOINT ["/bin/prometheus"]\n'
        'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]\n'
    )
    docker.build("--tag", PROMETHEUS, context)
