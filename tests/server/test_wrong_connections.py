"""Twenty wrong connections: each gives one sentence with the cause at once, without gRPC's log."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import grpc
import pytest

from sentriton import AccessDenied, AsyncSentenceEncoder, InvalidInput, SentenceEncoder, SentritonError, ServerError
from sentriton import ServerUnavailable as Unavailable
from sentriton_server.serving import prepare_repository
from tests.commands import run
from tests.ports import FREE_PORTS
from tests.server.certificates import write_certificates
from tests.server.conftest import RunningServer
from tests.servers import started

TRUSTED = {"root_certificates": "authority"}
CLIENT = {"client_certificate": "client", "client_key": "client_key"}
# The port, the settings (files by their names in Places), the class of the error and words of its message.
WRONG: dict[str, tuple[str, dict[str, Any], type[SentritonError], str]] = {
    "nothing listens": ("closed", {}, Unavailable, "is it running?"),
    "no such host": ("nowhere", {}, Unavailable, "cannot be resolved"),
    "the port of metrics": ("metrics", {}, Unavailable, "is the port of metrics; give the port of gRPC"),
    "the port of metrics, with TLS": ("metrics", TRUSTED, Unavailable, "is the port of metrics; give the port of gRPC"),
    "the port of HTTP": ("http", {}, Unavailable, "is a port of HTTP; give the port of gRPC"),
    "the port of HTTP, with TLS": ("http", TRUSTED, Unavailable, "is a port of HTTP; give the port of gRPC"),
    "another gRPC service": ("other", {}, ServerError, "is it the gRPC port of `sentriton serve`?"),
    "no TLS for a server with TLS": ("tls", {}, Unavailable, "speaks TLS; set tls"),
    "no TLS for a server with mutual TLS": ("mutual", {}, Unavailable, "speaks TLS; set tls"),
    "TLS for a server without": ("plain", {"tls": True}, Unavailable, "without TLS; leave out tls"),
    "certificates for a server without TLS": ("plain", {**TRUSTED, **CLIENT}, Unavailable, "without TLS; leave out"),
    "the system's authorities": ("tls", {"tls": True}, AccessDenied, "no authority that this client trusts"),
    "a stranger's authority": ("tls", {"root_certificates": "stranger"}, AccessDenied, "give the PEM file of"),
    "another name": ("tls", {**TRUSTED, "server_name": "example.org"}, AccessDenied, "another name; give that as"),
    "no client certificate": ("mutual", TRUSTED, AccessDenied, "give client_certificate and client_key"),
    "a stranger's client certificate": (
        "mutual",
        {**TRUSTED, "client_certificate": "stranger_client", "client_key": "stranger_client_key"},
        AccessDenied,
        "does not accept the client certificate",
    ),
    "a root file that is no certificate": ("tls", {"root_certificates": "text"}, InvalidInput, "BEGIN CERTIFICATE"),
    "a root file that is a key": ("tls", {"root_certificates": "server_key"}, InvalidInput, "has no PEM certificate"),
    "a root file that is missing": ("tls", {"root_certificates": "missing"}, InvalidInput, "cannot be read: No such"),
    "another certificate's key": (
        "mutual",
        {**TRUSTED, "client_certificate": "client", "client_key": "stranger_client_key"},
        InvalidInput,
        "is no key of",
    ),
    "a key that is none": (
        "mutual",
        {**TRUSTED, "client_certificate": "client", "client_key": "text"},
        InvalidInput,
        "has no PEM key",
    ),
    "a certificate without its key": ("mutual", {"client_certificate": "client"}, InvalidInput, "must be set together"),
    "no access key": ("keyed", {}, AccessDenied, "give the server's access_key"),
    "a wrong access key": ("keyed", {"access_key": "wrong"}, AccessDenied, "give the server's access_key"),
}
FILES = ("root_certificates", "client_certificate", "client_key")


class Places(dict[str, str]):
    """Addresses by kind of port, and paths of files by name."""


@pytest.fixture(scope="module")
def places(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("places")
    certificates = write_certificates(folder)
    (folder / "text").write_text("no certificate\n")
    places = Places(asdict(certificates), text=str(folder / "text"), missing=str(folder / "missing"))
    repository = prepare_repository(None, precision="fp32", device="cpu")
    tls = replace(FREE_PORTS, tls_certificate=certificates.server, tls_key=certificates.server_key)
    mutual = replace(tls, client_root_certificates=certificates.authority)
    keyed = replace(FREE_PORTS, access_key="the key", http_port=0)
    other = grpc.server(ThreadPoolExecutor(1))
    with (
        started(repository, tls) as with_tls,
        started(repository, mutual) as with_mutual_tls,
        started(repository, keyed) as with_key,
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))
        places["plain"] = f"localhost:{server.url.rpartition(':')[2]}"
        places["tls"] = f"localhost:{with_tls.settings.grpc_port}"
        places["mutual"] = f"localhost:{with_mutual_tls.settings.grpc_port}"
        places["keyed"] = with_key.url
        places["http"] = f"127.0.0.1:{with_key.settings.http_port}"
        places["metrics"] = with_key.metrics_url.removeprefix("http://").removesuffix("/metrics")
        places["closed"] = f"127.0.0.1:{closed.getsockname()[1]}"
        places["other"] = f"127.0.0.1:{other.add_insecure_port('127.0.0.1:0')}"
        places["nowhere"] = "nowhere.invalid:8001"
        other.start()
        yield places
        other.stop(None).wait()


def open_encoder(url: str, asynchronous: bool, **settings: Any) -> None:
    async def open_async() -> None:
        async with AsyncSentenceEncoder(url, timeout_s=20, **settings):
            pass

    if asynchronous:
        asyncio.run(open_async())
    else:
        SentenceEncoder(url, timeout_s=20, **settings).close()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_connection_names_its_cause(wrong: str, asynchronous: bool, places: Places) -> None:
    port, settings, kind, words = WRONG[wrong]
    given = {name: places[value] if name in FILES else value for name, value in settings.items()}
    started = time.monotonic()
    with pytest.raises(SentritonError) as caught:
        open_encoder(places[port], asynchronous, **given)
    assert time.monotonic() - started < 5
    assert type(caught.value) is kind
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 300
    assert not [noise for noise in ("SSL_ERROR", "TSI_", "_ssl.c", "Socket closed", "HTTP/2") if noise in message]


def test_a_look_at_the_port_is_no_part_of_a_healthy_call(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> Any:
        raise AssertionError("a healthy call must not open a connection of its own")

    monkeypatch.setattr(socket, "create_connection", refuse)
    open_encoder(places["plain"], False)
    open_encoder(places["tls"], True, root_certificates=places["authority"])


def test_a_command_prints_one_sentence_and_no_log_of_grpc(places: Places) -> None:
    for arguments in (
        ("--url", places["plain"], "--tls"),
        ("--url", places["mutual"], "--root-certificates", places["authority"]),
        ("--url", places["tls"], "--root-certificates", places["stranger"]),
        ("--url", places["metrics"]),
    ):
        for command in ("info", "health"):
            result = run(command, *arguments)
            assert result.returncode == (2 if command == "health" else 1)
            assert len(result.stderr.splitlines()) == 1, result.stderr


def test_the_log_of_grpc_is_there_for_those_who_ask(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "INFO")
    arguments = ("--url", places["tls"], "--root-certificates", places["stranger"])
    assert "CERTIFICATE_VERIFY_FAILED" in run("info", *arguments).stderr


def test_child_processes_find_the_variable_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    program = "import os, sentriton; print(os.environ.get('GRPC_VERBOSITY'))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "None\n"
