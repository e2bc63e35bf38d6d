"""The images and the Compose stack in a real Docker engine: built, locked up as pods are, stopped under load."""

from __future__ import annotations

import json
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from sentriton import SentenceEncoder
from sentriton_server.repository import MANIFEST
from sentriton_server.settings import ServerSettings
from tests.conftest import ROOT
from tests.deploy.engine import GPU_BASE, Docker, Figures, engine, load_gpu_base
from tests.deploy.prometheus import Prometheus
from tests.manifests.files import DOCKER, KUBERNETES, kustomize, of_kind
from tests.ports import with_free_ports
from tests.waiting import until

IMAGE, GPU_IMAGE, GATEWAY_IMAGE = "sentriton:cpu", "sentriton:gpu", "sentriton:gateway"
SENTENCES = [f"{number}번째 승객이 {'아주 ' * (number % 9)}늦은 기차를 탄다" for number in range(64)]
# Packages that PyPI's torch has and PyTorch's CPU build has not.
CUDA = "nvidia triton cuda torch/lib/libtorch_cuda*"
BYTES_OF_CUDA = f"cd /opt/sentriton/lib/python3*/site-packages && du -cb {CUDA} 2>/dev/null | tail -1"
BUNDLED = "from sentriton_server.resources import BUNDLED_CHECKPOINT; print(BUNDLED_CHECKPOINT)"
Vectors = NDArray[np.float32]
WITHOUT_RIGHTS = "--read-only --cap-drop ALL --security-opt no-new-privileges".split()
LOCKED_UP = [*WITHOUT_RIGHTS, *"--tmpfs /tmp --shm-size 1g".split()]
# Only the user's number is printed where no file can be written.
TRY_TO_WRITE = "(touch /anything || touch /tmp/anything) && echo written; id -u"
pytestmark = [pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    # Not below pytest's folders: a socket's path has at most 107 bytes, and overlayfs needs a disk.
    folder = ROOT / "build/engine-state"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with engine(folder) as running:
        yield running


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    """The figures that the tests note. At the end they become the table of benchmarks/README.md, in build/deploy.md."""
    noted = Figures()
    yield noted
    noted.write(ROOT / "build/deploy.md")


@pytest.fixture(scope="module")
def image(docker: Docker, figures: Figures) -> str:
    took_s = docker.build("--file", DOCKER / "Dockerfile.cpu", "--tag", IMAGE, ROOT)
    docker.forget_builds()
    size = docker.inspect(IMAGE)["Size"]
    unused = int(docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", BYTES_OF_CUDA).split()[0])
    figures.note(IMAGE, "built in", f"{took_s:.0f} s")
    figures.note(IMAGE, "size", f"{size / 1e9:.2f} GB; {(size - unused) / 1e9:.2f} GB without CUDA's files")
    assert size - unused < 1.5e9
    return IMAGE


@pytest.fixture(scope="module")
def gateway_image(docker: Docker, figures: Figures) -> str:
    took_s = docker.build("--file", DOCKER / "Dockerfile.gateway", "--tag", GATEWAY_IMAGE, ROOT)
    docker.forget_builds()
    figures.note(GATEWAY_IMAGE, "built in", f"{took_s:.0f} s")
    figures.note(GATEWAY_IMAGE, "size", f"{docker.inspect(GATEWAY_IMAGE)['Size'] / 1e6:.0f} MB")
    return GATEWAY_IMAGE


@pytest.fixture(scope="module")
def expected() -> Vectors:
    model = SentenceTransformer(str(ROOT / "checkpoints/sentriton-ko-mini"), device="cpu")
    return np.asarray(model.encode(SENTENCES, normalize_embeddings=True))


def assert_right(vectors: Vectors, expected: Vectors) -> None:
    cosines = (vectors * expected).sum(1) / np.linalg.norm(vectors, axis=1)
    assert cosines.min() > 0.999999


@contextmanager
def container(docker: Docker, image: str, *options: object, port: int = 8001) -> Iterator[tuple[str, str]]:
    """A running server or gateway: the container's name, and the address of its published port."""
    name = docker("run", "--detach", "--publish", f"127.0.0.1:0:{port}", *options, image)
    try:
        yield name, docker("port", name, port)
    finally:
        docker("rm", "--force", name)


@dataclass
class Load:
    """Callers that embed without a pause, and never give up."""

    calls: int = 0
    wrong: int = 0
    errors: list[Exception] = field(default_factory=list)


@contextmanager
def load(address: str, expected: Vectors, callers: int = 4) -> Iterator[Load]:
    counted, stop = Load(), threading.Event()

    def call(caller: int) -> None:
        with SentenceEncoder(address, timeout_s=120) as encoder:
            while not stop.is_set():
                rows = [(caller + offset) % len(SENTENCES) for offset in range(1 + counted.calls % 5)]
                try:
                    vectors = encoder.encode([SENTENCES[row] for row in rows], normalize_embeddings=True)
                except Exception as error:
                    counted.errors.append(error)
                else:
                    counted.wrong += int(((vectors * expected[rows]).sum(1) < 0.999999).any())
                    counted.calls += 1

    with ThreadPoolExecutor(callers) as pool:
        pending = [pool.submit(call, number) for number in range(callers)]
        try:
            yield counted
        finally:
            stop.set()
        for one in pending:
            one.result(150)


def test_the_cpu_image_has_the_encoders_operators(docker: Docker, image: str) -> None:
    manifest = docker("run", "--rm", "--entrypoint", "cat", image, f"/models/repository/{MANIFEST}")
    assert json.loads(manifest)["operators"] == ("sentriton" if platform.machine() == "x86_64" else "torch")


def test_an_export_in_a_container_has_the_operators_without_a_compiler(docker: Docker, image: str) -> None:
    export = f"sentriton export $(python -c '{BUNDLED}') /models/repository"
    # As the init container of the component repository-export: a volume beside the read-only root file system.
    volume = "sentriton-test-export"
    options = [*LOCKED_UP, "--volume", f"{volume}:/models", "--user", "0", "--entrypoint", "sh"]
    try:
        docker("run", "--rm", *options, image, "-c", f"rm -rf /models/repository && {export}", timeout_s=180)
        manifest = docker("run", "--rm", *options, image, "-c", f"cat /models/repository/{MANIFEST}")
        assert json.loads(manifest)["operators"] == ("sentriton" if platform.machine() == "x86_64" else "torch")
    finally:
        docker("volume", "rm", "--force", volume)


def test_the_cpu_image_serves_locked_up_and_ends_soon(
    docker: Docker, image: str, expected: Vectors, figures: Figures
) -> None:
    with container(docker, image, *LOCKED_UP) as (name, address):
        ready_s = docker.wait_until_healthy(name, 120)
        with SentenceEncoder(address) as encoder:
            assert_right(encoder.encode(SENTENCES), expected)
        assert docker("exec", name, "sh", "-c", "touch /anything; id -u", check=False) == "10001"
        # The caller of the manifests, as locked up as the server.
        (job,) = of_kind(kustomize(KUBERNETES / "caller"), "Job")
        (caller,) = job["spec"]["template"]["spec"]["containers"]
        line = docker("run", "--rm", *LOCKED_UP, "--network", f"container:{name}", image, *caller["args"])
        assert json.loads(line)["sentence"] == caller["args"][-1]
        started = time.monotonic()
        docker("stop", "--time", "60", name, timeout_s=70)
        figures.note(IMAGE, "healthy after", f"{ready_s:.0f} s")
        figures.note(IMAGE, "stopped within", f"{time.monotonic() - started:.1f} s")
        assert docker.inspect(name)["State"]["ExitCode"] == 0


def test_the_cpu_image_serves_with_the_engines_defaults(docker: Docker, image: str, expected: Vectors) -> None:
    with container(docker, image) as (name, address):
        docker.wait_until_healthy(name, 120)
        with SentenceEncoder(address) as encoder:
            assert_right(encoder.encode(SENTENCES), expected)


def test_the_gpu_image_serves_a_mounted_repository_locked_up(
    docker: Docker, image: str, expected: Vectors, figures: Figures
) -> None:
    # The base is a stand-in where it cannot be pulled; the repository is one by the CPU image, in a volume.
    volume = "sentriton-test-models"
    load_gpu_base(docker, image)
    docker.forget_builds()
    # Without torch for pooling on a GPU: it has several GB, and this machine has no GPU.
    took_s = docker.build("--file", DOCKER / "Dockerfile", "--build-arg", "PARTS=serve", "--tag", GPU_IMAGE, ROOT)
    added = docker.inspect(GPU_IMAGE)["Size"] - docker.inspect(GPU_BASE)["Size"]
    export = f"sentriton export $(python -c '{BUNDLED}') /models/repository --operators torch --overwrite"
    docker("run", "--rm", "--user", "0", "--volume", f"{volume}:/models", "--entrypoint", "sh", image, "-c", export)
    try:
        with container(docker, GPU_IMAGE, *LOCKED_UP, "--volume", f"{volume}:/models:ro") as (name, address):
            ready_s = docker.wait_until_healthy(name, 120)
            with SentenceEncoder(address) as encoder:
                assert_right(encoder.encode(SENTENCES), expected)
    finally:
        docker("volume", "rm", volume)
    figures.note(GPU_IMAGE, "built in", f"{took_s:.0f} s")
    figures.note(GPU_IMAGE, "size", f"{added / 1e6:.0f} MB above its base, without torch for pooling")
    figures.note(GPU_IMAGE, "healthy after", f"{ready_s:.0f} s")
    figures.note(GPU_IMAGE, "", "with a repository for CPUs")


def test_the_gateway_image_answers_locked_up_and_ends_soon(
    docker: Docker, image: str, gateway_image: str, expected: Vectors, figures: Figures
) -> None:
    with container(docker, image, *LOCKED_UP) as (server, _):
        docker.wait_until_healthy(server, 120)
        address = f"{docker.inspect(server)['NetworkSettings']['IPAddress']}:8001"
        # It needs no writable folder.
        options = [*WITHOUT_RIGHTS, "--env", f"SENTRITON_URL={address}"]
        with container(docker, gateway_image, *options, port=8080) as (name, published):
            ready_s = docker.wait_until_healthy(name, 60)
            assert_right(embed_through(f"http://{published}"), expected)
            assert docker("exec", name, "sh", "-c", TRY_TO_WRITE, check=False) == "10001"
            started = time.monotonic()
            docker("stop", "--time", "60", name, timeout_s=70)
            figures.note(GATEWAY_IMAGE, "healthy after", f"{ready_s:.0f} s")
            figures.note(GATEWAY_IMAGE, "stopped within", f"{time.monotonic() - started:.1f} s")
            assert docker.inspect(name)["State"]["ExitCode"] == 0


def embed_through(gateway: str) -> Vectors:
    """Vectors of the sentences from a gateway's URL."""
    body = {"model": "sentriton-ko-mini", "input": SENTENCES}
    answer = httpx.post(f"{gateway}/v1/embeddings", json=body, timeout=60).raise_for_status().json()
    return np.asarray([row["embedding"] for row in answer["data"]])


@dataclass(frozen=True)
class Stack:
    """The Compose stack with ports that are free here, without Grafana."""

    compose: Callable[..., str]
    address: str
    monitor: Prometheus
    gateway: str


@pytest.fixture(scope="module")
def stack(docker: Docker, image: str, gateway_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    ports = with_free_ports(ServerSettings(grpc_port=0, http_port=0, metrics_port=0))
    override = tmp_path_factory.mktemp("compose") / "ports.yaml"
    override.write_text(
        f"services:\n"
        f"  sentriton: {{ports: !override ['127.0.0.1:{ports.grpc_port}:8001']}}\n"
        f"  prometheus: {{ports: !override ['127.0.0.1:{ports.metrics_port}:9090']}}\n"
        f"  gateway: {{ports: !override ['127.0.0.1:{ports.http_port}:8080']}}\n"
    )
    files = ["--file", DOCKER / "compose.yaml", "--file", override]
    options = [*files, "--project-name", "sentriton-test", "--profile", "gateway"]

    def compose(*arguments: object) -> str:
        return docker("compose", *options, *arguments, timeout_s=150)

    try:
        # The images are there: `up --build` of the guide builds the same ones.
        compose("up", "--no-build", "--detach", "sentriton", "gateway", "prometheus")
        docker.wait_until_healthy("sentriton-test-sentriton-1", 120)
        monitor = Prometheus(f"http://127.0.0.1:{ports.metrics_port}")
        yield Stack(compose, f"127.0.0.1:{ports.grpc_port}", monitor, f"http://127.0.0.1:{ports.http_port}")
    finally:
        compose("down", "--volumes", "--timeout", "60")


def test_compose_serves_and_prometheus_finds_it(stack: Stack, expected: Vectors) -> None:
    with SentenceEncoder(stack.address) as encoder:
        assert_right(encoder.encode(SENTENCES), expected)

    def scraped() -> bool:
        return [value for _, value in stack.monitor.query("sum(sentriton_rows_total)")] >= [len(SENTENCES)]

    until(scraped, 60)
    assert not stack.monitor.firing()


def test_a_gateway_answers_in_compose_locked_up(docker: Docker, stack: Stack, expected: Vectors) -> None:
    name = "sentriton-test-gateway-1"
    docker.wait_until_healthy(name, 60)
    assert_right(embed_through(stack.gateway), expected)
    assert docker("exec", name, "sh", "-c", TRY_TO_WRITE, check=False) == "10001"


def test_a_stop_under_load_loses_no_call(stack: Stack, expected: Vectors, figures: Figures) -> None:
    with load(stack.address, expected) as counted:
        time.sleep(3)
        before = counted.calls
        stack.compose("restart", "sentriton")
        until(lambda: counted.calls > before + 50, 60)
    lost = f"{counted.calls:,} calls during a restart, {len(counted.errors)} lost, {counted.wrong} wrong"
    figures.note("compose.yaml", "", lost)
    assert (counted.errors, counted.wrong) == ([], 0)
    assert before > 20


def test_an_alert_stays_while_the_server_is_down(stack: Stack) -> None:
    stack.compose("stop", "sentriton")
    until(lambda: "SentritonDown" in stack.monitor.firing(), 120)
    # Its name leaves DNS now, and with it Prometheus' target.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert "SentritonDown" in stack.monitor.firing()
        time.sleep(2)
    jobs = {target["labels"]["job"] for target in stack.monitor.get("targets")["activeTargets"]}
    assert jobs == {"sentriton-gateway"}
    stack.compose("start", "sentriton")
    until(lambda: "SentritonDown" not in stack.monitor.firing(), 90)
