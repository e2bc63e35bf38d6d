"""OpenAI's own client on a real gateway and server: the vectors are those of `encode`."""

from __future__ import annotations

import base64
import json

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from sentriton import SentenceEncoder
from tests.gateway.conftest import RunningGateway, running_gateway
from tests.server.conftest import RunningServer

TEXTS = ["숙소가 역에서 가까워요.", "지하철역 근처 숙소입니다.", "내일 비가 오나요?"]


def vectors(answer: openai.types.CreateEmbeddingResponse) -> NDArray[np.float32]:
    """float32 [inputs, dimension], in the order of their indices."""
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    return np.array([each.embedding for each in answer.data], np.float32)


@pytest.fixture
def many() -> list[str]:
    """2,048 texts, short and long."""
    return [f"{number}번 손님이 남긴 {'아주 ' * (number % 40)}좋은 후기입니다" for number in range(2048)]


def test_one_input(gateway: RunningGateway, model: str, encoder: SentenceEncoder) -> None:
    answer = gateway.openai().embeddings.create(input=TEXTS[0], model=model)
    np.testing.assert_allclose(vectors(answer)[0], encoder.encode(TEXTS[0]), atol=1e-6, rtol=0)
    tokens = len(encoder.token_ids([TEXTS[0]])[0])
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (model, tokens, tokens)


def test_2048_inputs(gateway: RunningGateway, model: str, encoder: SentenceEncoder, many: list[str]) -> None:
    answer = gateway.openai().embeddings.create(input=many, model=model)
    np.testing.assert_allclose(vectors(answer), encoder.encode(many), atol=1e-6, rtol=0)
    assert answer.usage.prompt_tokens == sum(map(len, encoder.token_ids(many)))


def test_floats_are_those_of_base64(gateway: RunningGateway, model: str) -> None:
    client = gateway.openai()
    both = [client.embeddings.create(input=TEXTS, model=model, encoding_format=form) for form in ("float", "base64")]
    raw = gateway.post({"input": TEXTS, "model": model}).json()
    floats = np.array([each["embedding"] for each in raw["data"]], np.float32)
    assert isinstance(both[1].data[0].embedding, str), "OpenAI's client decodes only an encoding of its own choice"
    decoded = [np.frombuffer(base64.b64decode(str(each.embedding)), "<f4") for each in both[1].data]
    assert (vectors(both[0]) == floats).all()
    assert (np.array(decoded) == floats).all()


def test_dimensions_truncate(gateway: RunningGateway, model: str, encoder: SentenceEncoder) -> None:
    answer = gateway.openai().embeddings.create(input=TEXTS, model=model, dimensions=32, user="ignored")
    np.testing.assert_allclose(vectors(answer), encoder.encode(TEXTS, truncate_dim=32), atol=1e-6, rtol=0)


def test_tokens_are_those_of_tokenize(gateway: RunningGateway, model: str, encoder: SentenceEncoder) -> None:
    tokens, expected = encoder.token_ids(TEXTS), encoder.encode(TEXTS)
    client = gateway.openai()
    many = client.embeddings.create(input=tokens, model=model)
    np.testing.assert_allclose(vectors(many), expected, atol=1e-6, rtol=0)
    assert many.usage.prompt_tokens == sum(map(len, tokens))
    one = client.embeddings.create(input=tokens[1], model=model)
    np.testing.assert_allclose(vectors(one)[0], expected[1], atol=1e-6, rtol=0)


def test_models(gateway: RunningGateway, model: str, encoder: SentenceEncoder) -> None:
    found = gateway.openai().models.retrieve(model)
    manifest = encoder.manifest
    facts = found.to_dict()
    assert (found.id, facts["dimension"], facts["fingerprint"]) == (
        manifest.name,
        manifest.dimension,
        manifest.fingerprint,
    )
    with pytest.raises(openai.NotFoundError, match="the server has"):
        gateway.openai().models.retrieve("another/model")


MODEL = "the served model"
WRONG: list[tuple[dict[str, object], int, str, str | None, str]] = [
    ({"model": MODEL}, 400, "missing_required_parameter", "input", "input is missing"),
    ({"input": "x"}, 400, "missing_required_parameter", "model", "model is missing"),
    ({"input": "x", "model": "gpt"}, 404, "model_not_found", "model", "model is 'gpt'; the server has '"),
    ({"input": [], "model": MODEL}, 400, "invalid_value", "input", "input is []: give a string, a list of strings"),
    ({"input": ["x", 3], "model": MODEL}, 400, "invalid_value", "input", "input[1] is 3: "),
    ({"input": [5, "x"], "model": MODEL}, 400, "invalid_value", "input", "input[1] is 'x': "),
    (
        {"input": ["x"] * 2049, "model": MODEL},
        400,
        "invalid_value",
        "input",
        "input has 2049 elements; allowed are",
    ),
    (
        {"input": [[5, 6]], "model": MODEL},
        400,
        "invalid_value",
        "input",
        "input[0] begins with the token id 5 and",
    ),
    ({"input": [0] * 999, "model": MODEL}, 400, "invalid_value", "input", "input[0] has 999 tokens; allowed are 1 to"),
    ({"input": [99_999], "model": MODEL}, 400, "invalid_value", "input", "input[0] has the token id 99999; allowed"),
    ({"input": "x", "model": MODEL, "dimensions": 9999}, 400, "invalid_value", "dimensions", "dimensions is 9999; all"),
    ({"input": "x", "model": MODEL, "dimensions": 0}, 400, "invalid_value", "dimensions", "dimensions is 0: "),
    ({"input": "x", "model": MODEL, "encoding_format": "int8"}, 400, "invalid_value", "encoding_format", "encoding_f"),
    ({"input": "x", "model": MODEL, "prompt_name": "none"}, 400, "invalid_value", "prompt_name", "prompt_name is 'no"),
    ({"input": "x", "model": MODEL, "dimension": 3}, 400, "unknown_parameter", "dimension", "dimension is an unknown"),
]


@pytest.mark.parametrize(("body", "status", "code", "param", "says"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wrong_request_gets_openai_s_error(
    gateway: RunningGateway, model: str, body: dict[str, object], status: int, code: str, param: str | None, says: str
) -> None:
    answer = gateway.post({key: model if value is MODEL else value for key, value in body.items()})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"], error["param"]) == (
        status,
        "invalid_request_error",
        code,
        param,
    )
    assert error["message"].startswith(says), error["message"]


def test_other_wrong_requests(gateway: RunningGateway) -> None:
    url = f"{gateway.url}/v1/embeddings"
    headers = {"Content-Type": "application/json"}
    for content, status, code in (
        (b"{", 400, "invalid_json"),
        (b'"\xff"', 400, "invalid_json"),
        (b"[]", 400, "invalid_value"),
        (b"\x1f\x8b", 400, "invalid_json"),
        (b"[" * 100_000 + b"]" * 100_000, 400, "invalid_json"),
        (b'{"input": [%s], "model": "x"}' % (b"9" * 9000), 400, "invalid_json"),
        (json.dumps({"input": "x", "model": "x" * 100_000}).encode(), 404, "model_not_found"),
        (json.dumps({"input": "\ud800", "model": "x"}).encode(), 404, "model_not_found"),
        (b" " * (17 << 20), 413, "body_too_large"),
    ):
        answer = httpx.post(url, content=content, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert len(answer.content) < 400
    for other in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):  # curl's
        told = httpx.post(url, content=b'{"input": "x", "model": "x"}', headers=other).json()["error"]["message"]
        assert told.startswith(f"the Content-Type of the body is {other.get('Content-Type', '')!r}; send JSON with")
    in_parts = httpx.post(url, content=(b" " * (1 << 20) for _ in range(17)), headers=headers, timeout=30)
    assert (in_parts.status_code, in_parts.json()["error"]["code"]) == (413, "body_too_large")
    assert httpx.get(url).json()["error"]["code"] == "method_not_allowed"
    for path in ("/v1/completions", "/v1/embeddings/", "/health/"):  # no redirect to a host of the caller's choice
        assert httpx.get(f"{gateway.url}{path}").json()["error"]["code"] == "not_found"


def test_a_second_name_and_length_1(server: RunningServer, encoder: SentenceEncoder) -> None:
    flags = ("--gateway-model-name", "text-embedding-3-small", "--gateway-normalize")
    with running_gateway(server.url, *flags) as gateway:
        answer = gateway.openai().embeddings.create(input=TEXTS, model="text-embedding-3-small", dimensions=16)
    expected = encoder.encode(TEXTS, truncate_dim=16, normalize_embeddings=True)
    np.testing.assert_allclose(vectors(answer), expected, atol=1e-6, rtol=0)


def test_health_and_metrics(server: RunningServer, encoder: SentenceEncoder) -> None:
    with running_gateway(server.url) as gateway:
        health = httpx.get(f"{gateway.url}/health").json()
        assert health["status"] == "ok"
        assert health["min_cosine"] >= 0.999999
        tokens = gateway.openai().embeddings.create(input=TEXTS, model=health["model"]).usage.total_tokens
        lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
    assert 'sentriton_gateway_requests_total{path="/v1/embeddings",status="200"} 1.0' in lines
    assert f"sentriton_gateway_inputs_total {len(TEXTS):.1f}" in lines
    assert f"sentriton_gateway_tokens_total {tokens:.1f}" in lines
    assert "sentriton_gateway_requests_in_progress 0.0" in lines
