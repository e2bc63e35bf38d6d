"""A gateway that the system cannot start at first."""

from __future__ import annotations

import pytest

from sentriton.settings import ClientSettings
from sentriton_server.serving.errors import LaunchError
from sentriton_server.serving.gateway import Gateway
from sentriton_server.settings import ServerSettings, ServeSettings
from tests.waiting import until

CLIENT = ClientSettings.resolve(url="127.0.0.1:1")
TOO_LARGE = "x" * (1 << 20)  # Linux starts no process with such a variable


def test_it_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    gateway = Gateway(ServeSettings(gateway_port=0), ServerSettings(), said.append)
    try:
        monkeypatch.setenv("TOO_LARGE", TOO_LARGE)
        gateway.start(CLIENT)
        assert said == ["the gateway could not be started (Argument list too long); restarting it in 0.5 s"]
        monkeypatch.delenv("TOO_LARGE")

        def is_started() -> bool:
            gateway.look()
            return gateway._process is not None

        assert not is_started(), "a pause comes before the next start"
        until(is_started)
    finally:
        gateway.stop()


def test_it_is_given_up_as_one_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway(ServeSettings(gateway_port=0), ServerSettings(restarts=0), print)
    monkeypatch.setenv("TOO_LARGE", TOO_LARGE)
    try:
        with pytest.raises(LaunchError, match=r"could not be started .* 1 times in a row and is not restarted"):
            gateway.start(CLIENT)
    finally:
        gateway.stop()
