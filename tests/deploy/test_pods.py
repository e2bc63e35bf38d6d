"""The container of the manifests as a process: its variables and command line, a real server, its probes, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import trustme
import yaml
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sentriton import SentenceEncoder, protocol
from sentriton_server.serving import ServerSettings, prepare_repository
from tests.manifests.files import KUBERNETES, kustomize, of_kind
from tests.manifests.test_kubernetes import environment
from tests.ports import with_free_ports
from tests.waiting import until

BIN = Path(sys.executable).parent


class Pod:
    """A running container of a Deployment: its process, its address, its probes."""

    def __init__(self, folder: Path, component: str | None = None, **secrets: str) -> None:
        (folder / "overlay").mkdir(parents=True)
        relative = Path(os.path.relpath(KUBERNETES.resolve(), (folder / "overlay").resolve()))
        kustomization = {
            "resources": [str(relative / "base")],
            "components": [str(relative / "components" / component)] if component else [],
        }
        (folder / "overlay/kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        manifests = kustomize(folder / "overlay")
        (deployment,) = of_kind(manifests, "Deployment")
        (self.container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = with_free_ports(ServerSettings(grpc_port=0, metrics_port=0))
        self.address = f"localhost:{ports.grpc_port}"
        variables = {name: value for name, value in environment(manifests, self.container).items() if value is not None}
        self._paths = {"/models/repository": str(prepare_repository(None, precision="fp32", device="cpu"))}
        self._paths |= {"/tmp/": f"{folder}/", "/tls/": f"{folder}/"}
        self.variables = {name: self._here(value) for name, value in variables.items()} | {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "SENTRITON_GRPC_PORT": str(ports.grpc_port),
            "SENTRITON_METRICS_PORT": str(ports.metrics_port),
            "SENTRITON_URL": self.address,
            "OMP_NUM_THREADS": "2",
            **secrets,
        }
        arguments = [self._here(argument) for argument in self.container["args"]]
        self.process = subprocess.Popen([BIN / "sentriton", *arguments], env=self.variables, stderr=subprocess.DEVNULL)

    def _here(self, text: str) -> str:
        for there, here in self._paths.items():
            if text.startswith(there):
                return text.replace(there, here, 1)
        return text

    def probe(self, name: str, **variables: str) -> bool:
        """Whether a probe passes, run as the kubelet runs it."""
        probe = self.container[name]
        command = [self._here(word) for word in probe["exec"]["command"]]
        run = subprocess.run(
            command,
            env=self.variables | variables,
            capture_output=True,
            check=False,
            timeout=probe.get("timeoutSeconds", 1) + 2,
        )
        return run.returncode == 0

    def stub(self, model: str) -> psutil.Process:
        """The process of a model."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if any(f"/{model}/1/" in part for part in child.cmdline()))


@contextmanager
def running(folder: Path, component: str | None = None, **secrets: str) -> Iterator[Pod]:
    """A pod that passes its startup probe."""
    pod = Pod(folder, component, **secrets)

    def started() -> bool:
        assert pod.process.poll() is None, "the server ended"
        return pod.probe("startupProbe")

    try:
        until(started, 60)
        yield pod
    finally:
        pod.process.terminate()
        assert pod.process.wait(60) == 0


def test_probes_see_a_dead_stub_and_a_server_that_goes(tmp_path: Path) -> None:
    with running(tmp_path) as pod:
        assert pod.probe("readinessProbe")
        assert pod.probe("livenessProbe")
        pod.stub("encoder").kill()

        def is_out() -> bool:
            return not pod.probe("readinessProbe")

        def is_back() -> bool:
            return pod.probe("readinessProbe")

        until(is_out, 5)
        until(is_back, 30)
        assert pod.probe("livenessProbe")
        pod.process.send_signal(signal.SIGTERM)
        until(is_out, 5)
    assert not pod.probe("livenessProbe")


def write_certificates(folder: Path) -> None:
    """The files of the Secret sentriton-tls."""
    authority = trustme.CA()
    issued = authority.issue_cert("sentriton")
    folder.mkdir()
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "tls.key").write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))


@pytest.mark.parametrize("component", ["mutual-tls", "access-key"])
def test_probes_of_a_server_that_asks_who_calls(tmp_path: Path, component: str) -> None:
    folder = tmp_path / "pod"
    write_certificates(folder)
    secrets = {"SENTRITON_ACCESS_KEY": "a key"} if component == "access-key" else {}
    with running(folder, component, **secrets) as pod:
        assert pod.probe("livenessProbe")
        unset = dict.fromkeys(["SENTRITON_CLIENT_CERTIFICATE", "SENTRITON_CLIENT_KEY", "SENTRITON_ACCESS_KEY"], "")
        assert not pod.probe("livenessProbe", **unset), "the server demands credentials, and only the probe's let it in"


@pytest.fixture
def two_pods(tmp_path: Path) -> Iterator[tuple[Pod, Pod]]:
    with running(tmp_path / "first") as first, running(tmp_path / "second") as second:
        yield first, second


SENTENCES = [f"{number}번째 문장입니다" for number in range(64)]
THREADS, CALLS = 8, 60


def call_while_one_pod_goes(pod: Pod, call: Any) -> tuple[list[Any], float]:
    """Results of many calls from several threads, one pod being told to end after a quarter of them; and how long that
    pod took.
    """
    done, told, took_s = threading.Semaphore(0), threading.Event(), [0.0]

    def tell() -> None:
        for _ in range(THREADS * CALLS // 4):
            done.acquire()
        pod.process.terminate()
        told.set()
        started = time.monotonic()
        assert pod.process.wait(60) == 0
        took_s[0] = time.monotonic() - started

    def work(_: int) -> list[Any]:
        results = []
        for _ in range(CALLS):
            results.append((call(), told.is_set()))
            done.release()
        return results

    teller = threading.Thread(target=tell)
    teller.start()
    with ThreadPoolExecutor(THREADS) as pool:
        results = [result for results in pool.map(work, range(THREADS)) for result in results]
    teller.join()
    assert sum(late for _, late in results) > THREADS * CALLS / 4, "most of the work came after the signal"
    return [result for result, _ in results], took_s[0]


@pytest.mark.parametrize("victim", [0, 1])
def test_sigterm_under_load_loses_no_request_of_the_client(two_pods: tuple[Pod, Pod], victim: int) -> None:
    with SentenceEncoder(",".join(pod.address for pod in two_pods), timeout_s=30) as encoder:
        expected = encoder.encode(SENTENCES)
        embeddings, took_s = call_while_one_pod_goes(two_pods[victim], lambda: encoder.encode(SENTENCES))
    assert len(embeddings) == THREADS * CALLS
    for embedding in embeddings:
        np.testing.assert_allclose(embedding, expected, atol=1e-5)
    pod = two_pods[victim]
    assert took_s < float(pod.variables["SENTRITON_EXIT_TIMEOUT_S"])
    print(
        f"\n{len(embeddings) * len(SENTENCES):,} sentences in {len(embeddings)} calls, the pod ended in {took_s:.1f} s"
    )


def test_sigterm_under_load_loses_no_request_of_a_plain_grpc_client(two_pods: tuple[Pod, Pod]) -> None:
    # Any language's gRPC with round robin, and a loop around it. A server that drains refuses by one of two statuses,
    # and breaks off a call that arrives as it closes (sentriton/errors.py).
    request = protocol.text_request(SENTENCES)
    addresses = ",".join(pod.address.replace("localhost", "127.0.0.1") for pod in two_pods)
    options = [("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]
    with grpc.insecure_channel(f"ipv4:{addresses}", options=options) as channel:
        stub = GRPCInferenceServiceStub(channel)
        refusals: Counter[grpc.StatusCode] = Counter()

        def call() -> Any:
            deadline = time.monotonic() + 30
            while True:
                try:
                    response = stub.ModelInfer(request, timeout=deadline - time.monotonic(), wait_for_ready=True)
                    return protocol.read_sentence_embedding(response)
                except grpc.RpcError as error:
                    broken_off = (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, "CANCELLED")
                    if not broken_off and error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND):
                        raise
                    refusals[error.code()] += 1
                    time.sleep(0.05)

        expected = call()
        embeddings, _ = call_while_one_pod_goes(two_pods[0], call)
    assert len(embeddings) == THREADS * CALLS
    for embedding in embeddings:
        np.testing.assert_allclose(embedding, expected, atol=1e-5)
    print(f"\nrefused and retried: {dict(refusals)}")


def test_connections_end_when_they_are_old_and_no_request_with_them(tmp_path: Path) -> None:
    def callers(pod: Pod) -> set[int]:
        """The ports of those that are connected."""
        connections = psutil.net_connections("tcp")
        port = int(pod.address.rsplit(":", 1)[1])
        return {one.raddr.port for one in connections if one.laddr.port == port and one.status == "ESTABLISHED"}

    with running(tmp_path, SENTRITON_MAX_CONNECTION_AGE_S="1") as pod, SentenceEncoder(pod.address) as encoder:
        expected = encoder.encode(SENTENCES)
        seen: set[int] = set()
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            np.testing.assert_allclose(encoder.encode(SENTENCES), expected, atol=1e-5)
            seen |= callers(pod)
    assert len(seen) >= 6, "this client's and the canary's, each several times anew"
