"""Requests and responses, byte by byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelInferResponse

from sentriton import protocol
from sentriton.errors import InvalidInput, ServerError
from sentriton.tokenization import pack_rows


def described(request: Any) -> list[tuple[str, str, list[int]]]:
    return [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in request.inputs]


def embedding_response(raw: bytes, shape: tuple[int, int] = (2, 3)) -> Any:
    response = ModelInferResponse(model_name="embed_text", raw_output_contents=[raw])
    response.outputs.add(name="sentence_embedding", datatype="FP32", shape=shape)
    return response


def asset_response(raw: bytes) -> Any:
    response = ModelInferResponse(model_name="assets", raw_output_contents=[raw])
    response.outputs.add(name="content", datatype="BYTES", shape=[1])
    return response


def test_text_travels_as_length_and_utf8() -> None:
    request = protocol.text_request(["가", "", "ab"])
    assert request.model_name == "embed_text"
    assert described(request) == [("text", "BYTES", [3, 1])]
    raw = b"\x03\x00\x00\x00\xea\xb0\x80" + b"\x00\x00\x00\x00" + b"\x02\x00\x00\x00ab"
    assert list(request.raw_input_contents) == [raw]


def test_tokens_travel_packed_as_int32_little_endian() -> None:
    request = protocol.tokens_request(pack_rows([[1, 258], [7]], not_pooled=1))
    assert request.model_name == "embed_tokens"
    assert described(request) == [("input_ids", "INT32", [3, 1]), ("row", "INT32", [3, 1]), ("pooled", "BOOL", [3, 1])]
    ids = b"\x01\x00\x00\x00" + b"\x02\x01\x00\x00" + b"\x07\x00\x00\x00"
    assert list(request.raw_input_contents) == [ids, bytes(8) + b"\x01\x00\x00\x00", b"\x00\x01\x00"]
    assert [output.name for output in request.outputs] == ["sentence_embedding"]


def test_token_embeddings_are_asked_for_by_their_name() -> None:
    request = protocol.tokens_request(pack_rows([[1]]), output="token_embeddings")
    assert [output.name for output in request.outputs] == ["token_embeddings"]


def test_an_asset_is_asked_for_by_name() -> None:
    request = protocol.asset_request("manifest.json")
    assert request.model_name == "assets"
    assert described(request) == [("name", "BYTES", [1])]
    assert list(request.raw_input_contents) == [b"\x0d\x00\x00\x00manifest.json"]


@pytest.mark.parametrize("lane", ["query", "bulk"])
def test_the_lane_is_a_string(lane: str) -> None:
    request = protocol.text_request(["a"], protocol.parameters(priority=lane))
    assert dict(request.parameters) == {"lane": request.parameters["lane"]}
    assert request.parameters["lane"].string_param == lane


def test_the_canary_has_a_lane_of_its_own_by_its_key() -> None:
    request = protocol.text_request(["a"], protocol.parameters(priority="bulk", canary_key="secret"))
    assert request.parameters["lane"].string_param == "canary"
    assert request.parameters["canary_key"].string_param == "secret"
    with pytest.raises(InvalidInput, match="priority is 'canary'; allowed are query, bulk"):
        protocol.parameters(priority="canary")


def test_the_fingerprint_is_a_string() -> None:
    request = protocol.text_request(["a"], protocol.parameters(fingerprint="abc"))
    assert request.parameters["fingerprint"].WhichOneof("parameter_choice") == "string_param"
    assert request.parameters["fingerprint"].string_param == "abc"


def test_a_request_without_parameters_has_none() -> None:
    assert not protocol.text_request(["a"]).parameters


def test_an_unknown_lane_is_named_with_those_allowed() -> None:
    with pytest.raises(InvalidInput, match="'fast'; allowed are query, bulk"):
        protocol.parameters(priority="fast")


def test_an_embedding_is_read_as_little_endian_float32() -> None:
    raw = np.arange(6, dtype="<f4").tobytes()
    found = protocol.read_sentence_embedding(embedding_response(raw))
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert protocol.read_sentence_embedding(embedding_response(raw), 2, 3).tolist() == found.tolist()


@pytest.mark.parametrize("length", [0, 20, 28])
def test_an_embedding_of_another_size_is_the_servers_error(length: int) -> None:
    with pytest.raises(ServerError, match=rf"{length} bytes for sentence_embedding of shape \[2, 3\]"):
        protocol.read_sentence_embedding(embedding_response(b"\x00" * length))


def test_an_embedding_response_without_outputs_is_the_servers_error() -> None:
    with pytest.raises(ServerError):
        protocol.read_sentence_embedding(ModelInferResponse())


def test_an_asset_is_read_without_its_length() -> None:
    assert protocol.read_asset(asset_response(b"\x03\x00\x00\x00{ }")) == b"{ }"


@pytest.mark.parametrize("raw", [b"", b"\x03\x00", b"\x03\x00\x00\x00{"], ids=str)
def test_a_truncated_asset_is_the_servers_error(raw: bytes) -> None:
    with pytest.raises(ServerError):
        protocol.read_asset(asset_response(raw))


def token_response(tokens: int = 3, hidden: int = 2, **changed: Any) -> ModelInferResponse:
    values = {"name": "token_embeddings", "datatype": "FP32", "shape": [tokens, hidden], **changed}
    response = ModelInferResponse(model_name="embed_tokens", raw_output_contents=[np.ones((3, 2), "<f4").tobytes()])
    response.outputs.add(**values)
    return response


def test_token_embeddings_are_read_one_for_each_token() -> None:
    assert protocol.read_token_embeddings(token_response(), 3).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    "changed",
    [{"shape": [2, 3]}, {"shape": [1, 3, 2]}, {"shape": [3, 1]}, {"datatype": "FP16"}, {"name": "sentence_embedding"}],
    ids=str,
)
def test_other_token_embeddings_are_an_error(changed: dict[str, Any]) -> None:
    with pytest.raises(ServerError, match="token_embeddings"):
        protocol.read_token_embeddings(token_response(**changed), 3)


def test_token_embeddings_that_are_no_numbers_are_an_error() -> None:
    response = token_response()
    response.raw_output_contents[0] = np.full((3, 2), np.nan, "<f4").tobytes()
    with pytest.raises(ServerError, match="token_embeddings with NaN or infinity in row 0"):
        protocol.read_token_embeddings(response, 3)
