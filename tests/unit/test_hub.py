"""Hubs that are unreachable, silent, or without the model: one sentence, within seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sentriton.errors import InvalidInput
from sentriton.evaluation import read_pairs
from sentriton_server.hub import download

ABSENT = "the hub did not deliver it: it does not answer, and its cache has no such"


class Hub(BaseHTTPRequestHandler):
    """A hub without models and data sets."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """Use a port of this machine as hub, with an empty cache."""

    def use(port: int) -> None:
        url = f"http://127.0.0.1:{port}"
        for name in ("huggingface_hub.constants.ENDPOINT", "datasets.config.HF_ENDPOINT"):
            monkeypatch.setattr(name, url)
        path = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + path)
        for name in ("huggingface_hub.constants.HF_HUB_CACHE", "datasets.config.HF_DATASETS_CACHE"):
            monkeypatch.setattr(name, str(tmp_path))

    return use


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a host that accepts connections but never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def empty() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def message_of(ask: Callable[[], object]) -> str:
    started = time.monotonic()
    with pytest.raises(InvalidInput) as caught:
        ask()
    assert time.monotonic() - started < 5, "no retries"
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_hub_that_is_not_there(use_hub: Callable[[int], None]) -> None:
    use_hub(9)
    assert f"{ABSENT} model; check the name" in message_of(lambda: download("no/model", allow_pickle=False))
    assert f"{ABSENT} data set; check the name" in message_of(lambda: read_pairs("no/data:sts:validation"))


def test_a_hub_that_never_answers(use_hub: Callable[[int], None], silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(silent)
    monkeypatch.setattr("sentriton.evaluation.hub._ANSWER_S", 0.2)
    assert f"{ABSENT} model" in message_of(lambda: download("no/model", allow_pickle=False))
    assert f"{ABSENT} data set" in message_of(lambda: read_pairs("no/data"))


def test_a_hub_without_the_model_or_data_set(use_hub: Callable[[int], None], empty: int) -> None:
    use_hub(empty)
    assert "it has no such model, or shows it to other accounts" in message_of(
        lambda: download("no/model", allow_pickle=False)
    )
    assert "Dataset 'no/data' doesn't exist on the Hub" in message_of(lambda: read_pairs("no/data"))


def test_a_hub_that_nobody_may_ask(use_hub: Callable[[int], None], empty: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(empty)
    for name in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):
        monkeypatch.setattr(name, True)
    assert f"{ABSENT} model" in message_of(lambda: download("no/model", allow_pickle=False))
    assert f"{ABSENT} data set" in message_of(lambda: read_pairs("no/data"))
