"""A caller's mistake is that caller's error: INVALID_ARGUMENT, a sentence that helps, and no harm to anybody else."""

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
from tests.server.conftest import RunningServer

IDS = np.array([[0, 5, 6, 2]])
ONES = np.ones_like(IDS)


def tokens(input_ids: Any, attention_mask: Any, model: str = protocol.EMBED_TOKENS, **parameters: Any) -> Any:
    return protocol.tokens_request(
        np.asarray(input_ids, dtype=np.int64), np.asarray(attention_mask, dtype=np.int64), parameters, model
    )


def raw_text(*elements: bytes) -> Any:
    request = protocol.text_request(["x"] * len(elements))
    request.raw_input_contents[0] = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    return request


def cut_text() -> Any:
    request = protocol.text_request(["fine", "cut"])
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
    return request


def wrong_dtype() -> Any:
    request = tokens(IDS, ONES)
    request.inputs[0].datatype = "INT32"
    request.raw_input_contents[0] = IDS.astype(np.int32).tobytes()
    return request


def missing_input() -> Any:
    request = tokens(IDS, ONES)
    del request.inputs[1], request.raw_input_contents[1]
    return request


def asset(name: str) -> Any:
    return protocol.asset_request(name)


LONG = 4096
# name: (request, what the sentence must say)
BAD: dict[str, tuple[ModelInferRequest, tuple[str, ...]]] = {
    "negative id": (tokens([[0, -7, 2]], [[1, 1, 1]]), ("-7", "row 0", "allowed are 0 to")),
    "id beyond vocabulary": (
        tokens([[0, 5], [0, 10**12]], np.ones((2, 2))),
        (str(10**12), "row 1", "allowed are 0 to"),
    ),
    "row too long": (tokens(np.full((1, LONG), 5), np.ones((1, LONG))), (str(LONG), "max_seq_length")),
    "mask shorter than ids": (tokens(IDS, ONES[:, :3]), ("[1, 3]", "[1, 4]")),
    "mask longer than ids": (tokens(IDS, np.ones((1, 9))), ("[1, 9]", "[1, 4]")),
    "mask longer than ids, past the checks": (tokens(IDS, np.ones((1, 9)), "embed_batch"), ("[1, 9]", "[1, 4, ")),
    "mask of another batch size": (tokens(IDS, np.ones((2, 4))), ("batch",)),
    "mask value 3": (tokens(IDS, [[1, 1, 3, 1]]), ("3 in row 0 at position 2", "allowed are 0")),
    "negative mask": (tokens(IDS, [[1, -1, 1, 1]]), ("-1 in row 0 at position 1",)),
    "all-zero mask": (tokens(IDS, np.zeros((1, 4))), ("all zero in row 0", "at least one token")),
    "second row all zero": (tokens(np.tile(IDS, (2, 1)), [[1] * 4, [0] * 4]), ("all zero in row 1",)),
    "empty batch of tokens": (tokens(np.empty((0, 4)), np.empty((0, 4))), ("Expected 32, got 0",)),
    "empty batch of text": (raw_text(), ("expected 1 string elements", "got 0")),
    "rows of no token": (tokens(np.empty((1, 0)), np.empty((1, 0))), ("0 tokens", "1 to")),
    "batch above the maximum of tokens": (
        tokens(np.tile(IDS, (65, 1)), np.ones((65, 4))),
        ("batch-size must be <= 64",),
    ),
    "batch above the maximum of text": (raw_text(*[b"x"] * 65), ("batch-size must be <= 64",)),
    "more text than a request may have": (
        raw_text(*[b"x" * 20_000] * 64),
        ("1,280,000 bytes in 64 rows", "allowed are 1,048,576"),
    ),
    "invalid UTF-8": (raw_text(b"fine", b"not \xff fine"), ("row 1", "0xff", "UTF-8")),
    "text whose bytes end too early": (cut_text(), ("incomplete string", "expecting string of length 3 but only 2")),
    "wrong dtype": (wrong_dtype(), ("INT32", "INT64")),
    "missing input": (missing_input(), ("expected 2 inputs", "1")),
    "unknown asset": (asset("weights.bin"), ("weights.bin", "manifest.json", "tokenizer.json", "golden.json")),
    "fingerprint of another model": (tokens(IDS, ONES, fingerprint="0" * 64), ("fingerprint mismatch", "0" * 64)),
}


@pytest.fixture(scope="module")
def good_traffic(server: RunningServer) -> Iterator[list[str]]:
    """Callers of good requests, at work for as long as the tests of this module run; what fails is listed."""
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


def test_a_mixed_flood_fails_the_bad_requests_alone(server: RunningServer, encoder: SentenceEncoder) -> None:
    good = "섞여 있어도 좋은 요청은 성공한다."
    expected = encoder.encode(good)
    connection = Connection(server.url)
    ids = encoder._tokenizer.tokenize([good])
    good_request = tokens(ids, np.ones((1, len(ids[0]))))
    requests = [BAD["negative id"][0], good_request, BAD["mask shorter than ids"][0], good_request, good_request] * 60
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
