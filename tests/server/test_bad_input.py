"""An invalid request gets INVALID_ARGUMENT with a helpful message, and does not affect other callers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest

from sentriton import ContractMismatch, InvalidInput, SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.tokenization import PackedRows, pack_rows
from tests.server.conftest import RunningServer

IDS = [0, 5, 6, 2]


def tokens(*rows: list[int], **parameters: Any) -> Any:
    return protocol.tokens_request(pack_rows(rows), parameters)


def numbered(*row: int) -> Any:
    """A request of tokens with these row numbers."""
    ids = np.full(len(row), 5, np.int32)
    return protocol.tokens_request(PackedRows(ids, np.array(row, np.int32), np.ones(len(row), np.bool_)))


def shaped(*shape: int, tensor: int = 0) -> Any:
    """A request with this declared shape of one of its tensors."""
    request = tokens(IDS)
    del request.inputs[tensor].shape[:]
    request.inputs[tensor].shape.extend(shape)
    return request


def raw_text(*elements: bytes) -> Any:
    request = protocol.text_request(["x"] * len(elements))
    request.raw_input_contents[0] = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    return request


def cut_text() -> Any:
    request = protocol.text_request(["fine", "cut"])
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
    return request


def wrong_dtype() -> Any:
    request = tokens(IDS)
    request.inputs[0].datatype = "INT64"
    request.raw_input_contents[0] = np.array(IDS, np.int64).tobytes()
    return request


def missing_input() -> Any:
    request = tokens(IDS)
    del request.inputs[1], request.raw_input_contents[1]
    return request


def token_embeddings(rows: int, length: int) -> Any:
    return protocol.tokens_request(pack_rows([[5] * length] * rows), output=protocol.TOKEN_EMBEDDINGS)


def text_with_a_number(parameter: str) -> Any:
    """Text with a fractional number for this parameter."""
    request = protocol.text_request(["좋은 문장입니다."])
    request.parameters[parameter].double_param = 0.5
    return request


def asset(name: str) -> Any:
    return protocol.asset_request(name)


LONG = 4096
# name: (request, the required part of the sentence)
BAD: dict[str, tuple[ModelInferRequest, tuple[str, ...]]] = {
    "negative id": (tokens([0, -7, 2]), ("-7", "row 0", "allowed are 0 to")),
    "id beyond vocabulary": (tokens([0, 5], [0, 10**9]), (str(10**9), "row 1", "allowed are 0 to")),
    "row too long": (tokens([0, 2], [5] * LONG), ("row 1 of input_ids", str(LONG), "max_seq_length")),
    "a row left out": (numbered(0, 0, 2), ("row is 2 at token 2", "0 before it", "0, 1, 2 and so on")),
    "rows mixed": (numbered(0, 1, 0), ("row is 0 at token 2", "1 before it")),
    "no first row": (numbered(1, 1), ("row is 1 at token 0",)),
    "more rows than a request may have": (tokens(*[IDS] * 257), ("257 rows", "allowed are 256")),
    "tensors of two lengths": (shaped(3, 1), ("batch size does not match",)),
    "no token": (shaped(0, 1), ("batch size does not match",)),
    "a row for each line": (shaped(1, 4), ("batch size does not match",)),
    "a size that wraps": (shaped(2**61 + 4, 1), ("batch size does not match",)),
    "an inner size that wraps": (shaped(4, 2**61 + 1), ("unexpected shape",)),
    "token embeddings of too many tokens": (token_embeddings(64, 65), ("4,160 tokens", "allowed are 4,096")),
    "empty batch of text": (raw_text(), ("expected 1 string elements", "got 0")),
    "batch above the maximum of text": (raw_text(*[b"x"] * 257), ("batch-size must be <= 256",)),
    "more text than a request may have": (
        raw_text(*[b"x" * 20_000] * 64),
        ("1,280,000 bytes in 64 rows", "allowed are 1,048,576"),
    ),
    "invalid UTF-8": (raw_text(b"fine", b"not \xff fine"), ("row 1", "0xff", "UTF-8")),
    "text whose bytes end too early": (cut_text(), ("incomplete string", "expecting string of length 3 but only 2")),
    "wrong dtype": (wrong_dtype(), ("INT64", "INT32")),
    "missing input": (missing_input(), ("input row is missing", "input_ids and row must be there")),
    "long asset": (asset("x" * 20_000), (f"unknown asset '{'x' * 100}'; there are",)),
    "unknown asset": (asset("weights.bin"), ("weights.bin", "manifest.json", "tokenizer.json", "golden.json")),
    "a number for a lane": (text_with_a_number("lane"), ("lane is '0.5'", "allowed are 'query', 'bulk'")),
    "a number for a fingerprint": (text_with_a_number("fingerprint"), ("fingerprint mismatch", "'0.5'")),
    "fingerprint of another model": (tokens(IDS, fingerprint="0" * 64), ("fingerprint mismatch", "0" * 64)),
}


@pytest.fixture(scope="module")
def good_traffic(server: RunningServer) -> Iterator[list[str]]:
    """Callers of valid requests during all tests of this module. Yields the list of their failures."""
    failures: list[str] = []
    stop = threading.Event()
    with SentenceEncoder(server.url) as encoder:
        expected = encoder.encode("좋은 요청은 모두 성공해야 한다.")

        def call() -> None:
            while not stop.is_set():
                try:
                    np.testing.assert_allclose(encoder.encode("좋은 요청은 모두 성공해야 한다."), expected, atol=1e-5)
                except Exception as error:
                    failures.append(repr(error))

        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        yield failures
        stop.set()
        for caller in callers:
            caller.join()


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_a_helpful_sentence(
    name: str, server: RunningServer, good_traffic: list[str]
) -> None:
    request, says = BAD[name]
    connection = Connection(server.url)
    try:
        for _ in range(5):
            with pytest.raises(InvalidInput) as raised:
                connection.infer(request, timeout_s=20)
            cause = raised.value.__cause__
            assert isinstance(cause, grpc.RpcError)
            assert cause.code() is grpc.StatusCode.INVALID_ARGUMENT
            missing = [text for text in says if text not in str(raised.value)]
            assert not missing, f"{missing} not in: {raised.value}"
    finally:
        connection.close()
    assert not good_traffic


def test_a_request_without_a_required_input_counts_in_its_lane(server: RunningServer) -> None:
    request = missing_input()
    request.parameters["lane"].string_param = "bulk"
    before = server.published("sentriton_requests_total", lane="bulk")
    connection = Connection(server.url)
    for _ in range(5):
        with pytest.raises(InvalidInput, match="input row is missing"):
            connection.infer(request, timeout_s=20)
    connection.close()
    assert server.published("sentriton_requests_total", lane="bulk") == before + 5


def test_a_mixed_flood_fails_the_bad_requests_alone(server: RunningServer, encoder: SentenceEncoder) -> None:
    good = "섞여 있어도 좋은 요청은 성공한다."
    expected = encoder.encode(good)
    connection = Connection(server.url)
    ids = encoder.token_ids([good])
    good_request = tokens(*ids)
    requests = [BAD["negative id"][0], good_request, BAD["rows mixed"][0], good_request, good_request] * 60
    futures = [connection.start_infer(request, 60) for request in requests]
    codes = [future.code() for future in futures]
    for future, request, code in zip(futures, requests, codes, strict=True):
        if request is good_request:
            embedding = protocol.read_sentence_embedding(future.result())[0]
            np.testing.assert_allclose(embedding, expected, atol=1e-5)
        else:
            assert code is grpc.StatusCode.INVALID_ARGUMENT
    connection.close()


def test_text_that_is_cut_off_fails_alone(server: RunningServer) -> None:
    connection = Connection(server.url)
    good_request = protocol.text_request(["좋은 요청은 다른 요청 때문에 실패하지 않는다."])
    requests = [cut_text(), good_request] * 64
    futures = [connection.start_infer(request, 60) for request in requests]
    codes = [future.code() for future in futures]
    connection.close()
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK] * 64


def test_another_models_fingerprint_is_a_contract_mismatch(server: RunningServer) -> None:
    connection = Connection(server.url)
    with pytest.raises(ContractMismatch, match="fingerprint mismatch"):
        connection.infer(BAD["fingerprint of another model"][0], timeout_s=10)
    connection.close()


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_empty_and_white_text_is_valid(text: str, server: RunningServer, encoder: SentenceEncoder) -> None:
    connection = Connection(server.url)
    through_text = protocol.read_sentence_embedding(connection.infer(protocol.text_request([text]), 10))[0]
    connection.close()
    assert np.isfinite(through_text).all()
    np.testing.assert_allclose(encoder.encode(text), through_text, atol=1e-5)


def test_text_may_come_with_parameters_of_a_callers_own(server: RunningServer, encoder: SentenceEncoder) -> None:
    connection = Connection(server.url)
    through_text = protocol.read_sentence_embedding(connection.infer(text_with_a_number("weight"), 10))[0]
    connection.close()
    np.testing.assert_allclose(encoder.encode("좋은 문장입니다."), through_text, atol=1e-5)
