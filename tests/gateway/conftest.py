"""Gateways, each a process of its own as its users start it, before the real server of all tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import openai
import pytest

from tests.commands import SENTRITON
from tests.server.conftest import RunningServer


@dataclass(frozen=True)
class RunningGateway:
    """A gateway under test."""

    url: str
    process: subprocess.Popen[str]
    clients: ExitStack  # closed at its end, since a collected client would warn of its socket in another test

    def openai(self, api_key: str = "none", **options: object) -> openai.OpenAI:
        """OpenAI's client for it."""
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, timeout=60, **options)  # type: ignore[arg-type]
        return self.clients.enter_context(client)

    def post(self, body: object, **headers: str) -> httpx.Response:
        """A request for embeddings without any client."""
        return httpx.post(f"{self.url}/v1/embeddings", json=body, headers=headers, timeout=60)


@contextmanager
def running_gateway(server_url: str, *flags: object, **variables: str) -> Iterator[RunningGateway]:
    """`sentriton gateway` on a free port. It must end by a signal with the exit code 0."""
    command = [SENTRITON, "gateway", "--url", server_url, "--gateway-port", "0", *map(str, flags)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables})
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"gateway to {server_url} at "), line
        with ExitStack() as clients:
            yield RunningGateway(line.split()[-1], process, clients)
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture(scope="session")
def gateway(server: RunningServer) -> Iterator[RunningGateway]:
    with running_gateway(server.url) as running:
        yield running


@pytest.fixture(scope="session")
def model(gateway: RunningGateway) -> str:
    """The name of the served model, as OpenAI's client lists it."""
    (model,) = gateway.openai().models.list()
    return model.id
