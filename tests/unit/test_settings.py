"""The settings, their sources, and invalid values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentriton import ClientSettings, InvalidInput
from sentriton.arguments import positive
from sentriton.cache import cache_folder
from sentriton.declaration import resolve
from sentriton.settings import EvaluationSettings
from sentriton.stream import encode_chunks, stream_arguments
from sentriton_server.data_sets.folder import data_folder
from sentriton_server.settings import ServeSettings


def test_an_argument_beats_the_environment_and_that_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ClientSettings.resolve().url == "localhost:8001"
    monkeypatch.setenv("SENTRITON_URL", "host:1")
    monkeypatch.setenv("SENTRITON_TIMEOUT_S", "2.5")
    monkeypatch.setenv("SENTRITON_MAX_IN_FLIGHT", "3")
    monkeypatch.setenv("SENTRITON_TLS", "on")
    settings = ClientSettings.resolve(url="host:2")
    assert (settings.url, settings.timeout_s, settings.max_in_flight, settings.tls) == ("host:2", 2.5, 3, True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"priority": "urgent"}, "priority is 'urgent'; allowed are query, bulk"),
        ({"on_model_change": "ask"}, "on_model_change is 'ask'; allowed are raise, reload"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"stall_timeout_s": 0}, "stall_timeout_s is 0"),
        ({"timeout_s": "5"}, "timeout_s is '5'; allowed are finite numbers above 0"),
        ({"max_in_flight": 0}, "max_in_flight is 0"),
        ({"max_in_flight": 2.5}, "max_in_flight is 2.5; allowed are whole numbers from 1"),
        ({"tls": "no"}, "tls is 'no'; allowed are True, False"),
        ({"access_key": "from a file\n"}, "access_key is a value that is not shown; allowed are printable ASCII"),
        ({"access_key": "열쇠"}, "access_key is a value that is not shown"),
        ({"url": "host"}, "url is 'host'; allowed are host:port"),
        ({"url": "host:70000"}, "url is 'host:70000'"),
        ({"url": 8001}, "url is 8001"),
        ({"url": " , "}, "allowed are host:port"),
        ({"url": "a:1,,b:2"}, "allowed are host:port"),
        ({"client_key": "key.pem"}, "^client_key is set, but a client certificate and its key must be set together"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ClientSettings.resolve(**given)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SENTRITON_ROOT_CERTIFICATES", "~/ca.pem")
    settings = ClientSettings.resolve(client_certificate="~me/own.pem", client_key="~/own.key")
    paths = settings.root_certificates, settings.client_certificate, settings.client_key
    assert paths == ("/home/me/ca.pem", "~me/own.pem", "/home/me/own.key")
    for variable in ("SENTRITON_CACHE", "SENTRITON_DATA", "SENTRITON_READY_FILE"):
        monkeypatch.setenv(variable, "~/there")
    assert cache_folder() == data_folder() == resolve(ServeSettings).ready_file == Path("/home/me/there")
    monkeypatch.setenv("SENTRITON_CHECKPOINT", "~")
    assert resolve(EvaluationSettings).checkpoint == "/home/me"
    monkeypatch.delenv("SENTRITON_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/kept")
    assert cache_folder() == Path("/home/me/kept/sentriton")


@pytest.mark.parametrize(("variable", "value"), [("SENTRITON_TIMEOUT_S", "soon"), ("SENTRITON_TLS", "maybe")])
def test_a_variable_that_cannot_be_read_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput, match=rf"\${variable} is '{value}'"):
        ClientSettings.resolve()


@pytest.mark.parametrize(
    "url", ["host:1", "10.0.0.1:8001", "[::1]:8001", "dns:///host:8001", "dns://10.0.0.2:53/embed.internal:8001"]
)
def test_addresses_as_grpc_takes_them(url: str) -> None:
    assert ClientSettings(url=url).addresses == (url,)


def test_several_addresses_and_the_access_key_stays_out_of_sight() -> None:
    settings = ClientSettings(url="a:1, b:2", access_key="secret")
    assert settings.addresses == ("a:1", "b:2")
    assert "secret" not in repr(settings)
    assert ClientSettings(root_certificates="ca.pem").uses_tls


@pytest.mark.parametrize("timeout_s", [0, -1, "3", True, float("nan")])
def test_a_time_that_cannot_be_is_refused(timeout_s: Any) -> None:
    with pytest.raises(InvalidInput, match="timeout_s is"):
        positive("timeout_s", timeout_s)


@pytest.mark.parametrize(
    ("sentences", "chunk_size", "says"), [("abc", 10, "a stream takes an iterable"), ([], 0, "chunk_size is 0")]
)
def test_a_stream_that_cannot_be_is_refused(sentences: Any, chunk_size: int, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        stream_arguments(sentences, {"chunk_size": chunk_size})


@pytest.mark.parametrize("chunk_size", [7, np.int64(7), torch.tensor(7)])
def test_the_size_of_chunks_may_be_any_whole_number(chunk_size: Any) -> None:
    sentences, size, _ = stream_arguments(["a"] * 9, {"chunk_size": chunk_size})
    assert [len(chunk) for chunk in encode_chunks(sentences, size, list, lambda: None)] == [7, 2]


def test_the_size_of_chunks_may_change() -> None:
    class Growing:  # as that of `sentriton embed`, which adapts to the model's rate
        size = 0

        def __index__(self) -> int:
            self.size += 1
            return self.size

    sentences, size, _ = stream_arguments(["a"] * 10, {"chunk_size": Growing()})
    assert [len(chunk) for chunk in encode_chunks(sentences, size, list, lambda: None)] == [2, 3, 4, 1]
