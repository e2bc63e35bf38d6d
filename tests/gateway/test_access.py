"""Keys, TLS, limits and the end of a gateway."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import trustme

from tests.commands import run
from tests.gateway.conftest import running_gateway
from tests.small_server import SmallServer
from tests.waiting import until

KEY = "a-key-of-the-gateway"


@pytest.fixture
def small() -> Iterator[SmallServer]:
    """A server that computes nothing: the code under test is before it."""
    with SmallServer() as server:
        server.manifest["name"] = "small"
        yield server


def test_a_key_is_asked_for(small: SmallServer) -> None:
    with running_gateway(small.url, SENTRITON_GATEWAY_ACCESS_KEY=KEY) as gateway:
        with (
            gateway.openai(api_key="another") as stranger,
            pytest.raises(openai.AuthenticationError, match="the access key is missing or wrong"),
        ):
            stranger.models.list()
        assert httpx.get(f"{gateway.url}/v1/models").headers["WWW-Authenticate"] == "Bearer"
        with gateway.openai(api_key=KEY) as client:
            answer = client.embeddings.create(input=["w7"], model="small", encoding_format="float")
        assert answer.data[0].embedding == [7.0] * 4
        # Routes that show no data of the model need no key.
        for path in ("/", "/metrics", "/openapi.json"):
            assert httpx.get(f"{gateway.url}{path}").status_code == 200


def test_the_key_of_the_server_is_the_gateway_s(small: SmallServer) -> None:
    with running_gateway(small.url, SENTRITON_ACCESS_KEY=KEY) as gateway:
        assert httpx.get(f"{gateway.url}/v1/models").status_code == 401
        with gateway.openai(api_key=KEY) as client:
            assert [model.id for model in client.models.list()] == ["small"]


def test_an_empty_key_opens_no_gateway(small: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_ACCESS_KEY", "")
    refused = run("gateway", "--url", small.url, "--gateway-port", 0)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "error: $SENTRITON_ACCESS_KEY is empty; set a key, or remove the variable: callers need no key\n"
    )
    with running_gateway(small.url, SENTRITON_GATEWAY_ACCESS_KEY=KEY) as gateway:
        assert httpx.get(f"{gateway.url}/v1/models").status_code == 401


def test_tls_and_mutual_tls(small: SmallServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, callers = authority.issue_cert("127.0.0.1"), authority.issue_cert("caller@example.com")
    files = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "roots", "caller")}
    certificate.cert_chain_pems[0].write_to_path(files["certificate"])
    certificate.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["roots"])
    callers.private_key_and_cert_chain_pem.write_to_path(files["caller"])
    context = ssl.create_default_context(cafile=files["roots"])
    flags = ["--gateway-tls-certificate", files["certificate"], "--gateway-tls-key", files["key"]]
    with running_gateway(small.url, *flags) as gateway:
        assert gateway.url.startswith("https://")
        with gateway.openai(http_client=httpx.Client(verify=context)) as client:
            assert [model.id for model in client.models.list()] == ["small"]
    with running_gateway(small.url, *flags, "--gateway-client-root-certificates", files["roots"]) as gateway:
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{gateway.url}/v1/models", verify=context)
        context.load_cert_chain(files["caller"])
        assert httpx.get(f"{gateway.url}/v1/models", verify=context).status_code == 200


def test_requests_over_the_limit_are_rejected(small: SmallServer) -> None:
    small.delay_s = 1.0
    with running_gateway(small.url, "--gateway-max-calls", 2) as gateway:
        statuses: list[int] = []

        def call() -> None:
            statuses.append(gateway.post({"input": "w1", "model": "small"}).status_code)

        gateway.post({"input": "w1", "model": "small"})  # it is connected
        callers = [threading.Thread(target=call) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert sorted(statuses) == [200, 200, 429, 429, 429, 429]


def test_calls_join(small: SmallServer) -> None:
    with running_gateway(small.url) as gateway:
        gateway.post({"input": "w1", "model": "small"})
        small.delay_s, before = 0.2, small.received
        callers = [
            threading.Thread(target=gateway.post, args=({"input": f"w{number}", "model": "small"},))
            for number in range(40)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert small.received - before < 20, "calls that wait share requests"


def test_the_end_waits_for_requests_in_progress(small: SmallServer) -> None:
    small.delay_s = 1.5
    answers: list[httpx.Response] = []
    with running_gateway(small.url) as gateway:
        caller = threading.Thread(target=lambda: answers.append(gateway.post({"input": "w9", "model": "small"})))
        caller.start()
        until(lambda: small.received > 0)
        gateway.process.terminate()
        assert gateway.process.wait(20) == 0
        caller.join()
    assert answers[0].json()["data"][0]["embedding"] == [9.0] * 4


def test_a_caller_that_goes_takes_its_requests_along(small: SmallServer) -> None:
    with running_gateway(small.url) as gateway:
        gateway.post({"input": "w1", "model": "small"})
        small.silent.set()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{gateway.url}/v1/embeddings", json={"input": "w1", "model": "small"}, timeout=0.5)
        until(lambda: 'status="499"' in httpx.get(f"{gateway.url}/metrics").text)
        until(lambda: small.under_way == 0, what="the request to the server is not cancelled")
        small.silent.clear()


def test_a_server_that_is_away(unused_url: str) -> None:
    with running_gateway(unused_url) as gateway:
        answer = gateway.post({"input": "x", "model": "small"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["error"]["code"] == "server_unavailable"
        assert httpx.get(f"{gateway.url}/health").status_code == 503


@pytest.fixture
def unused_url() -> str:
    with SmallServer() as server:
        return server.url


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--gateway-port", "70000"], "--gateway-port is '70000'; allowed are 0 (a free port) to 65535"),
        (["--gateway-host", "192.0.2.1"], "the gateway cannot listen (--gateway-host '192.0.2.1'"),
        (["--gateway-max-inputs", "0"], "--gateway-max-inputs is '0'; allowed are whole numbers from 1"),
        (["--gateway-tls-key", "x.pem"], "--gateway-tls-key is set, but a certificate and its key must"),
        (["--gateway-client-root-certificates", "x"], "--gateway-client-root-certificates needs --gateway-tls-certif"),
        (
            ["--gateway-tls-certificate", "none.pem", "--gateway-tls-key", "none.pem"],
            "the gateway cannot use --gateway-tls-certificate none.pem, --gateway-tls-key none.pem: No such file",
        ),
        (["--access-key", " "], "--access-key is a value that is not shown"),
    ],
)
def test_wrong_settings(flags: list[str], says: str) -> None:
    done: subprocess.CompletedProcess[str] = run("gateway", *flags)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {says}"), line
