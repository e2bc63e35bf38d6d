"""TLS, mutual TLS and keys: with the right credentials, callers get vectors, otherwise an error at once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import Parse
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sentriton import AccessDenied, AsyncSentenceEncoder, SentenceEncoder, ServerUnavailable
from sentriton.protocol import text_request
from sentriton_server.serving import TritonServer, prepare_repository
from tests.commands import SENTRITON
from tests.conftest import ROOT
from tests.ports import FREE_PORTS
from tests.server.certificates import Certificates, write_certificates
from tests.server.serve_command import running
from tests.servers import started
from tests.snippets import blocks, commands

ACCESS_KEY, ADMIN_KEY = "caller's=key:with,signs", "admin-only"
ADDRESS = "embeddings.example.com:8001"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def serving(**settings: Any) -> Iterator[TritonServer]:
    repository = prepare_repository(None, precision="fp32", device="cpu")
    with started(repository, replace(FREE_PORTS, **settings)) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_tls(certificates: Certificates) -> Iterator[TritonServer]:
    with serving(
        tls_certificate=certificates.server,
        tls_key=certificates.server_key,
        client_root_certificates=certificates.authority,
        access_key=ACCESS_KEY,
        admin_key=ADMIN_KEY,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def tls(certificates: Certificates) -> Iterator[TritonServer]:
    with serving(tls_certificate=certificates.server, tls_key=certificates.server_key) as server:
        yield server


@pytest.fixture(scope="module")
def keyed() -> Iterator[TritonServer]:
    with serving(access_key=ACCESS_KEY, http_port=0) as server:
        yield server


def embed(asynchronous: bool, server: TritonServer, host: str = "127.0.0.1", **credentials: Any) -> tuple[int, ...]:
    """The shape of a sentence's vector from one of the two encoders."""
    url = f"{host}:{server.settings.grpc_port}"

    async def embed_async() -> tuple[int, ...]:
        async with AsyncSentenceEncoder(url, timeout_s=20, **credentials) as encoder:
            return (await encoder.encode("누가 묻는가?")).shape

    if asynchronous:
        return asyncio.run(embed_async())
    with SentenceEncoder(url, timeout_s=20, **credentials) as encoder:
        return encoder.encode("누가 묻는가?").shape


def is_refused(kind: type[Exception], *arguments: Any, match: str | None = None, **credentials: Any) -> None:
    """Require an immediate error of this kind, since the client does not retry with a wrong credential."""
    started = time.monotonic()
    with pytest.raises(kind, match=match):
        embed(*arguments, **credentials)
    assert time.monotonic() - started < 5


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def test_the_command_takes_certificate_and_key(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags of the certificate, the variable of the access key, and callers, as docs/serving.md and
    docs/protocol.md show them.
    """
    flags = "--host", "127.0.0.1", "--tls-certificate", certificates.server, "--tls-key", certificates.server_key
    with running(*flags, environment={"SENTRITON_ACCESS_KEY": ACCESS_KEY}) as (_, line, _):
        (port,) = re.findall(r" at 127\.0\.0\.1:(\d+) ", line)
        right = {"timeout_s": 20, "root_certificates": certificates.authority}
        with SentenceEncoder(f"localhost:{port}", access_key=ACCESS_KEY, **right) as encoder:
            assert encoder.encode("누가 묻는가?").shape == (256,)
        with pytest.raises(AccessDenied):
            SentenceEncoder(f"localhost:{port}", access_key="another", **right)
        monkeypatch.setenv("SENTRITON_ACCESS_KEY", ACCESS_KEY)
        programs = (block.code for block in blocks(ROOT / "docs/serving.md", "python"))
        (program,) = (code for code in programs if "root_certificates=" in code)
        *_, lines = blocks(ROOT / "docs/protocol.md", "python")
        names: dict[str, Any] = {"grpc": grpc, "inference_pb2_grpc": service_pb2_grpc, "request": text_request(["x"])}
        for code in (program, lines.code):
            exec(code.replace(ADDRESS, f"localhost:{port}").replace("ca.crt", certificates.authority), names)
        assert names["embeddings"].shape == (1, 256)
        assert names["response"].outputs[0].shape == [1, 256]
        monkeypatch.setenv("SENTRITON_URL", f"localhost:{port}")
        monkeypatch.setenv("SENTRITON_ROOT_CERTIFICATES", certificates.authority)
        subprocess.run([SENTRITON, "health"], timeout=60, check=True)


@both
def test_tls(
    asynchronous: bool, tls: TritonServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"root_certificates": certificates.authority}
    assert embed(asynchronous, tls, "localhost", **right) == (256,)
    assert embed(asynchronous, tls, server_name="embed.example.com", **right) == (256,)
    is_refused(AccessDenied, asynchronous, tls, root_certificates=certificates.stranger, match="no authority that")
    is_refused(AccessDenied, asynchronous, tls, tls=True, match="no authority that")
    is_refused(AccessDenied, asynchronous, tls, **right, match="another name")
    is_refused(ServerUnavailable, asynchronous, tls, match="speaks TLS")
    monkeypatch.setenv("SENTRITON_TLS", "yes")
    is_refused(AccessDenied, asynchronous, tls, match="no authority that")
    monkeypatch.setenv("SENTRITON_ROOT_CERTIFICATES", certificates.authority)
    assert embed(asynchronous, tls, "localhost") == (256,)


@both
def test_mutual_tls_with_an_access_key(
    asynchronous: bool, mutual_tls: TritonServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {
        "root_certificates": certificates.authority,
        "client_certificate": certificates.client,
        "client_key": certificates.client_key,
        "access_key": ACCESS_KEY,
        "server_name": "localhost",
    }
    assert embed(asynchronous, mutual_tls, **right) == (256,)
    stranger = {
        "client_certificate": certificates.stranger_client,
        "client_key": certificates.stranger_client_key,
    }
    nobody = {"client_certificate": None, "client_key": None}
    is_refused(AccessDenied, asynchronous, mutual_tls, **{**right, **stranger}, match="does not accept")
    is_refused(AccessDenied, asynchronous, mutual_tls, **{**right, **nobody}, match="mutual TLS")
    for key in (None, "wrong", ADMIN_KEY):
        is_refused(AccessDenied, asynchronous, mutual_tls, **{**right, "access_key": key}, match="access_key")
    for name, value in right.items():
        monkeypatch.setenv(f"SENTRITON_{name.upper()}", value)
    assert embed(asynchronous, mutual_tls) == (256,)
    is_refused(AccessDenied, asynchronous, mutual_tls, access_key="wrong", match="access_key")


@both
def test_an_access_key_alone(asynchronous: bool, keyed: TritonServer) -> None:
    assert embed(asynchronous, keyed, access_key=ACCESS_KEY) == (256,)
    for key in (None, "wrong", ACCESS_KEY[:-1], ACCESS_KEY + "x"):
        is_refused(AccessDenied, asynchronous, keyed, access_key=key, match="access_key")


Stub = GRPCInferenceServiceStub
ADMINISTRATIVE = {
    "load": lambda stub: (stub.RepositoryModelLoad, messages.RepositoryModelLoadRequest(model_name="encoder")),
    "unload": lambda stub: (stub.RepositoryModelUnload, messages.RepositoryModelUnloadRequest(model_name="encoder")),
    "index": lambda stub: (stub.RepositoryIndex, messages.RepositoryIndexRequest()),
    "system shared memory": lambda stub: (
        stub.SystemSharedMemoryRegister,
        messages.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=8),
    ),
    "CUDA shared memory": lambda stub: (stub.CudaSharedMemoryStatus, messages.CudaSharedMemoryStatusRequest()),
    "statistics": lambda stub: (stub.ModelStatistics, messages.ModelStatisticsRequest()),
    "trace": lambda stub: (stub.TraceSetting, messages.TraceSettingRequest()),
    "logging": lambda stub: (stub.LogSettings, messages.LogSettingsRequest()),
}
ADMIN_HEADER = "triton-grpc-protocol-admin-key"


def refusal(stub: Any, call: str, **headers: str) -> str | None:
    """The reason for rejecting an administrative call, or None if the server accepts its credentials."""
    method, request = ADMINISTRATIVE[call](stub)
    try:
        method(request, timeout=10, metadata=tuple((name.replace("_", "-"), value) for name, value in headers.items()))
    except grpc.RpcError as error:
        return error.details() if "restricted" in error.details() else None
    return None


@pytest.fixture
def raw(mutual_tls: TritonServer, certificates: Certificates) -> Iterator[Any]:
    """A plain gRPC channel, as of any other client."""
    credentials = grpc.ssl_channel_credentials(
        Path(certificates.authority).read_bytes(),
        Path(certificates.client_key).read_bytes(),
        Path(certificates.client).read_bytes(),
    )
    with grpc.secure_channel(f"localhost:{mutual_tls.settings.grpc_port}", credentials) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.mark.parametrize("call", ADMINISTRATIVE)
def test_an_administrative_call_needs_the_admins_key(call: str, raw: Any, keyed: TritonServer) -> None:
    assert ADMIN_HEADER in (refusal(raw, call) or "")
    assert refusal(raw, call, triton_grpc_protocol_admin_key="wrong")
    assert refusal(raw, call, triton_grpc_protocol_access_key=ACCESS_KEY)
    assert refusal(raw, call, triton_grpc_protocol_admin_key=ADMIN_KEY) is None
    # Without an admin key, a server has no administrators.
    with grpc.insecure_channel(keyed.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert refusal(stub, call)
        assert refusal(stub, call, triton_grpc_protocol_admin_key="")
        assert refusal(stub, call, triton_grpc_protocol_access_key=ACCESS_KEY)


def test_a_raw_channel_needs_the_access_key_for_inference_and_none_for_health(raw: Any) -> None:
    assert raw.ServerReady(messages.ServerReadyRequest(), timeout=10).ready
    for key in ("wrong", ADMIN_KEY, ""):
        with pytest.raises(grpc.RpcError, match="restricted"):
            raw.ModelInfer(text_request(["x"]), timeout=10, metadata=(("triton-grpc-protocol-access-key", key),))
    with pytest.raises(grpc.RpcError, match="restricted"):
        raw.ModelInfer(text_request(["x"]), timeout=10)
    with pytest.raises(grpc.RpcError, match="restricted"):
        raw.ModelStreamInfer(iter([text_request(["x"])]), timeout=10).next()
    headers = (("triton-grpc-protocol-access-key", ACCESS_KEY),)
    assert raw.ModelInfer(text_request(["x"]), timeout=10, metadata=headers).outputs[0].shape == [1, 256]


def raw_status(server: TritonServer, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """The outcome of a plain gRPC channel with these credentials (None: without TLS) and the right key."""
    address = f"localhost:{server.settings.grpc_port}"
    channel = grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
    headers = (("triton-grpc-protocol-access-key", ACCESS_KEY),)
    with channel:
        try:
            GRPCInferenceServiceStub(channel).ModelInfer(text_request(["x"]), timeout=10, metadata=headers)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_raw_channels_with_right_wrong_and_missing_credentials(
    tls: TritonServer, mutual_tls: TritonServer, certificates: Certificates
) -> None:
    def credentials(authority: str, *identity: str) -> grpc.ChannelCredentials:
        key, certificate = identity or (None, None)
        files = (Path(path).read_bytes() if path else None for path in (authority, key, certificate))
        return grpc.ssl_channel_credentials(*files)

    right, unavailable = credentials(certificates.authority), grpc.StatusCode.UNAVAILABLE
    assert raw_status(tls, right) is grpc.StatusCode.OK
    assert raw_status(tls, credentials(certificates.stranger)) is unavailable
    assert raw_status(tls, None) is unavailable
    known = credentials(certificates.authority, certificates.client_key, certificates.client)
    stranger = credentials(certificates.authority, certificates.stranger_client_key, certificates.stranger_client)
    assert raw_status(mutual_tls, known) is grpc.StatusCode.OK
    assert raw_status(mutual_tls, stranger) is unavailable
    assert raw_status(mutual_tls, right) is unavailable
    assert raw_status(mutual_tls, None) is unavailable


def test_http_asks_for_the_same_keys(keyed: TritonServer) -> None:
    def status(path: str, **headers: str) -> int:
        request = Request(f"http://127.0.0.1:{keyed.settings.http_port}/v2/{path}", headers=headers)
        try:
            with urlopen(request, timeout=10) as response:
                return response.status
        except HTTPError as error:
            return error.code

    assert status("health/ready") == 200
    assert status("models/encoder") == 403
    assert status("models/encoder", **{"access-key": "wrong"}) == 403
    assert status("models/encoder", **{"access-key": ACCESS_KEY}) == 200
    assert status("models/stats", **{"access-key": ACCESS_KEY}) == 403


def test_a_shell_embeds_as_the_page_of_the_protocol_shows(keyed: TritonServer) -> None:
    """With curl, and with the message of grpcurl, which is not installed. Both have the header of the key."""
    shown = {words[0]: words for words in commands(ROOT / "docs/protocol.md")}
    grpcurl = shown["grpcurl"]
    request = Parse(grpcurl[grpcurl.index("-d") + 1], messages.ModelInferRequest())
    with grpc.insecure_channel(keyed.url) as channel:
        call = channel.unary_unary(
            f"/{grpcurl[-1]}", messages.ModelInferRequest.SerializeToString, messages.ModelInferResponse.FromString
        )
        response = call(request, timeout=20, metadata=[("triton-grpc-protocol-access-key", ACCESS_KEY)])
    (content,) = response.raw_output_contents
    with SentenceEncoder(keyed.url, access_key=ACCESS_KEY) as encoder:
        np.testing.assert_array_equal(np.frombuffer(content, "<f4"), encoder.encode("숙소가 역에서 가까워요."))

    curl = [word.replace("localhost:8000", f"127.0.0.1:{keyed.settings.http_port}") for word in shown["curl"]]
    done = subprocess.run(
        [*curl, "--silent", "--header", f"access-key: {ACCESS_KEY}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (output,) = json.loads(done.stdout)["outputs"]
    np.testing.assert_allclose(output["data"], np.frombuffer(content, "<f4"), rtol=1e-6)


def test_the_health_command_takes_its_credentials_from_the_environment(
    mutual_tls: TritonServer, certificates: Certificates
) -> None:
    def health(**credentials: str) -> subprocess.CompletedProcess[str]:
        variables = {f"SENTRITON_{name.upper()}": value for name, value in credentials.items()}
        return subprocess.run(
            [SENTRITON, "health"], capture_output=True, text=True, env={**os.environ, **variables}, timeout=60
        )

    right = {
        "url": mutual_tls.url,
        "server_name": "localhost",
        "root_certificates": certificates.authority,
        "client_certificate": certificates.client,
        "client_key": certificates.client_key,
        "access_key": ACCESS_KEY,
    }
    passed = health(**right)
    assert passed.returncode == 0, passed.stderr
    wrong_key = health(**{**right, "access_key": "wrong"})
    assert (wrong_key.returncode, "--access-key" in wrong_key.stderr) == (1, True)
    assert health(**{**right, "root_certificates": certificates.stranger}).returncode == 2
