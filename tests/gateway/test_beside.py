"""`sentriton serve --gateway-port`: a gateway with the server, across restarts of both, and its end."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import psutil
import pytest

from sentriton import SentenceEncoder
from tests.server.serve_command import fails, running, wait_until_gone
from tests.waiting import until

CALLERS, CALLS = 64, 12


@pytest.fixture
def port() -> int:
    """A port that is free at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


def gateway_of(serve: psutil.Process) -> psutil.Process:
    """The gateway's process."""
    until(lambda: gateways_of(serve))
    (found,) = gateways_of(serve)
    return found


def gateways_of(serve: psutil.Process) -> list[psutil.Process]:
    """The gateways that run: none while one is to be started again."""
    found = []
    for child in serve.children():
        with contextlib.suppress(psutil.Error):
            if "--listener-fd" in child.cmdline():
                found.append(child)
    return found


def test_64_callers_through_restarts(repository: Path, port: int) -> None:
    """Every answer equals that of `encode`, while a stub of Triton and then the gateway are killed."""
    texts = [f"{number}번 손님이 남긴 {'아주 ' * (number % 20)}좋은 후기입니다" for number in range(CALLERS)]
    with running(repository, "--gateway-port", port) as (process, line, processes):
        serve = psutil.Process(process.pid)
        with SentenceEncoder(line.split(" at ")[1].split(" ")[0]) as encoder:
            expected, model = encoder.encode(texts), encoder.manifest.name
        answered, counted = 0, threading.Lock()
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60, max_retries=5) as client:

            def call(caller: int) -> None:
                nonlocal answered
                for _ in range(CALLS):
                    answer = client.embeddings.create(input=texts[caller], model=model)
                    np.testing.assert_allclose(answer.data[0].embedding, expected[caller], atol=1e-6, rtol=0)
                    with counted:
                        answered += 1

            with ThreadPoolExecutor(CALLERS) as pool:
                calls = [pool.submit(call, caller) for caller in range(CALLERS)]
                until(lambda: answered > CALLERS, 60)
                next(child for child in processes if child.name() == "triton_python_backend_stub").kill()
                during = answered
                until(lambda: answered > during + 3 * CALLERS, 60)
                first = gateway_of(serve)
                first.kill()
                for each in calls:
                    each.result(120)
        assert answered == CALLERS * CALLS
        second = gateway_of(serve)
        assert second != first
        process.terminate()
        assert process.wait(60) == 0
        assert not wait_until_gone([second], 10)


def test_a_gateway_ends_with_a_killed_serve(repository: Path, port: int) -> None:
    with running(repository, "--gateway-port", port) as (process, _, _):
        gateway = gateway_of(psutil.Process(process.pid))
        process.kill()
        assert not wait_until_gone([gateway], 10)


def test_key_and_settings_are_the_server_s(repository: Path) -> None:
    variables = {"SENTRITON_ACCESS_KEY": "a-key-of-both", "SENTRITON_GATEWAY_MAX_INPUTS": "3"}
    with running(repository, "--gateway-port", "0", environment=variables) as (process, _, _):
        gateway = gateway_of(psutil.Process(process.pid))
        until(lambda: any(each.status == psutil.CONN_LISTEN for each in gateway.net_connections()), 30)
        (url,) = [
            f"http://127.0.0.1:{each.laddr.port}/v1"
            for each in gateway.net_connections()
            if each.status == psutil.CONN_LISTEN
        ]
        assert httpx.get(f"{url}/models", timeout=30).status_code == 401
        with openai.OpenAI(base_url=url, api_key="a-key-of-both", timeout=30) as client:
            (model,) = client.models.list()
            assert len(client.embeddings.create(input=["a", "b", "c"], model=model.id).data) == 3
            with pytest.raises(openai.BadRequestError, match="input has 4 elements; allowed are 1 to 3"):
                client.embeddings.create(input=["a", "b", "c", "d"], model=model.id)
        assert all("a-key-of-both" not in argument for argument in gateway.cmdline())


@pytest.mark.parametrize(
    ("flags", "variables", "says"),
    [
        (("--gateway-port", "8001"), {}, "--grpc-port and --gateway-port are both 8001; give each a port of its own"),
        (("--gateway-port", "0"), {"SENTRITON_GATEWAY_MAX_INPUTS": "0"}, "$SENTRITON_GATEWAY_MAX_INPUTS is '0'; allo"),
        (("--gateway-port", "0"), {"SENTRITON_GATEWAY_TLS_KEY": "x"}, "$SENTRITON_GATEWAY_TLS_KEY is set, but"),
    ],
)
def test_what_cannot_be_is_said_before_the_start(flags: tuple[str, ...], variables: dict[str, str], says: str) -> None:
    ports = ("--grpc-port", "8001") if "8001" in flags else ("--grpc-port", "0")
    assert fails(*flags, *ports, "--metrics-port", "0", **variables).startswith(f"error: {says}")


def test_a_gateway_that_keeps_failing_ends_serve(repository: Path, port: int) -> None:
    with running(repository, "--gateway-port", port, "--restarts", 1) as (process, _, _):
        serve = psutil.Process(process.pid)
        first = gateway_of(serve)
        first.kill()
        until(lambda: any(each != first for each in gateways_of(serve)))
        gateway_of(serve).kill()
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert "2 times in a row and is not restarted (--restarts 1)" in process.stderr.read()
