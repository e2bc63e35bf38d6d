"""gRPC asks the proxy in $http_proxy. A server of the client's own machine is reached without it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from sentriton import ServerUnavailable
from tests.small_server import SmallServer, vectors

# Nothing listens there.
PROXY = "http://127.0.0.1:9"


@pytest.fixture(params=["http_proxy", "https_proxy", "grpc_proxy"])
def variable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(request.param, PROXY)
    return str(request.param)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "dns:///localhost", "0.0.0.0"])
def test_a_server_of_this_machine_is_reached_without_the_proxy(
    connect: Callable[..., Any], variable: str, host: str
) -> None:
    with SmallServer() as server, closing(connect(f"{host}:{server.port}", timeout_s=10)) as encoder:
        assert (encoder.encode(["w1", "w2"]) == vectors(["w1", "w2"])).all()


def test_the_error_of_another_names_the_proxy(connect: Callable[..., Any], variable: str) -> None:
    # An address of this machine that the client does not know as one.
    with SmallServer() as server, pytest.raises(ServerUnavailable) as caught:
        connect(f"[::ffff:127.0.0.1]:{server.port}", timeout_s=10)
    assert f"not through the proxy in ${variable}; add [::ffff:127.0.0.1] to $no_proxy" in str(caught.value)
