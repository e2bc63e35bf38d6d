"""Another model at the same address: no caller gets vectors of a model that it does not expect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from openai import InternalServerError, OpenAI

from tests.gateway.conftest import RunningGateway, running_gateway
from tests.small_server import SmallServer
from tests.waiting import until


@pytest.fixture
def small() -> Iterator[SmallServer]:
    """Refuses requests for a model that it serves no more, as the server does."""
    with SmallServer() as server:
        server.manifest["name"] = "a"

        def refuse(number: int, context: Any) -> None:
            if server.requests[number].parameters["fingerprint"].string_param != server.manifest["fingerprint"]:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "fingerprint mismatch: another model")

        server.refuse = refuse
        yield server


@pytest.fixture
def gateway(small: SmallServer) -> Iterator[RunningGateway]:
    """It knows the model "a"."""
    with running_gateway(small.url) as running:
        assert running.post({"input": "w7", "model": "a"}).status_code == 200
        yield running


def serve_b(server: SmallServer) -> None:
    server.manifest = {**server.manifest, "name": "b", "fingerprint": "e" * 64}


def listed(gateway: RunningGateway) -> list[str]:
    return [model["id"] for model in httpx.get(f"{gateway.url}/v1/models", timeout=30).json()["data"]]


def code_of(gateway: RunningGateway, given: object, model: str) -> tuple[int, str]:
    answer = gateway.post({"input": given, "model": model})
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def test_the_former_model_is_no_more(small: SmallServer, gateway: RunningGateway) -> None:
    serve_b(small)
    assert code_of(gateway, "w7", "a") == (404, "model_not_found")
    assert code_of(gateway, "w7", "b") == (200, "")


def test_the_new_model_is_found_at_once(small: SmallServer, gateway: RunningGateway) -> None:
    serve_b(small)
    assert code_of(gateway, "w7", "b") == (200, "")
    assert code_of(gateway, [[7]], "a") == (404, "model_not_found")


def test_the_list_is_new(small: SmallServer, gateway: RunningGateway) -> None:
    assert listed(gateway) == ["a"]
    serve_b(small)
    until(lambda: listed(gateway) == ["b"], 5)
    assert httpx.get(f"{gateway.url}/v1/models/a", timeout=30).status_code == 404


def test_tokens_of_the_former_model_are_refused(small: SmallServer, gateway: RunningGateway) -> None:
    assert code_of(gateway, [[7]], "a") == (200, "")
    serve_b(small)
    assert code_of(gateway, [[7]], "a") == (503, "model_changed")
    assert code_of(gateway, [[7]], "a") == (404, "model_not_found")
    assert code_of(gateway, [[7]], "b") == (200, "")


def test_openai_does_not_retry_tokens_of_the_former_model(small: SmallServer, gateway: RunningGateway) -> None:
    """Otherwise it would return vectors of the new model for token ids of the former one, without a word."""
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="unused") as client:
        client.embeddings.create(model="a", input=[[7]])
        small.manifest = {**small.manifest, "fingerprint": "e" * 64}
        with pytest.raises(InternalServerError, match="fingerprint") as failed:
            client.embeddings.create(model="a", input=[[7]])
    assert (failed.value.status_code, failed.value.code) == (503, "model_changed")


@pytest.mark.parametrize("read_first", [False, True])
def test_tokens_may_get_vectors_of_another_model_of_this_name(
    small: SmallServer, gateway: RunningGateway, read_first: bool
) -> None:
    """Only the request that meets the change is refused, as docs/gateway.md warns. The fingerprint shows the change."""
    small.manifest = {**small.manifest, "fingerprint": "e" * 64}
    if read_first:
        assert code_of(gateway, "w7", "a") == (200, "")
    else:
        assert code_of(gateway, [[7]], "a") == (503, "model_changed")
    assert code_of(gateway, [[7]], "a") == (200, "")
    (model,) = httpx.get(f"{gateway.url}/v1/models", timeout=30).json()["data"]
    assert model["fingerprint"] == "e" * 64


def test_raising_refuses_one_request(small: SmallServer) -> None:
    with running_gateway(small.url, "--on-model-change", "raise") as gateway:
        assert code_of(gateway, "w7", "a") == (200, "")
        small.manifest = {**small.manifest, "fingerprint": "e" * 64}
        assert code_of(gateway, "w7", "a") == (503, "model_changed")
        assert code_of(gateway, [[7]], "a") == (200, "")


def test_the_manifest_is_read_once_a_second(small: SmallServer, gateway: RunningGateway) -> None:
    readings = 0

    def count(response: Any) -> None:
        nonlocal readings
        readings += 1

    small.change_asset = count
    for _ in range(20):
        assert code_of(gateway, "w7", "another") == (404, "model_not_found")
    assert 1 <= readings <= 5


def test_a_full_queue_is_no_fault_of_health(small: SmallServer, gateway: RunningGateway) -> None:
    small.golden = {"sentences": ["w7"], "sentence_embedding": [[7.0] * 4]}

    def health() -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{gateway.url}/health", timeout=30)
        return answer.status_code, answer.json()

    assert health() == (200, {"status": "ok", "model": "a", "min_cosine": 1.0})
    small.refuse = lambda number, context: context.abort(grpc.StatusCode.UNAVAILABLE, "the query lane is full")
    until(lambda: health() == (200, {"status": "overloaded", "model": None, "min_cosine": None}), 5)
    small.refuse = lambda number, context: context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
    until(lambda: health()[0] == 503, 5)
