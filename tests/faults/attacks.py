"""Attacks of one caller that try to crash the server or delay others. Each sends all its data and returns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.tokenization import pack_rows

MANY = 600
NO_KEY = "no key"
ONE_MIB = 1 << 20
# The bundled checkpoint's hidden size is 256.
TENSORS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "embed_tokens": (("input_ids", "INT32", 1), ("row", "INT32", 1), ("pooled", "BOOL", 1)),
    "encoder": (("input_ids", "INT32", 1), ("row", "INT32", 1), ("key", "INT64", 1)),
    "embed_batch": (("input_ids", "INT32", 1), ("pooled", "BOOL", 1), ("row", "INT32", 1), ("key", "INT64", 1)),
    "pooling": (("token_embeddings", "FP32", 256), ("pooled", "BOOL", 1), ("row", "INT32", 1), ("key", "INT64", 1)),
}
BYTES = {"BOOL": 1, "INT32": 4, "FP32": 4, "INT64": 8}
# Their sizes in bytes wrap modulo 2^64, so Triton 24.10 accepts a few bytes for these shapes.
WRAPPING = [
    (1, 2**61),
    (1, 2**62),
    (4, 2**61 + 1),
    (64, 2**58),
    (2**61, 1),
    (2**61 + 4, 1),
    (2**32, 1),
    (1, 2**54, 256),
]


def send_all(url: str, requests: Sequence[Any]) -> Counter[str]:
    """Send requests over one connection, all in flight at once. Returns the number of each gRPC status."""
    connection = Connection(url)
    calls = [connection.start_infer(request, 60) for request in requests]
    outcomes = Counter(outcome(call) for call in calls)
    connection.close()
    return outcomes


def outcome(call: Any) -> str:
    """The status of an ended call. The encoder, stock or stand-in, can reject a key only by INTERNAL."""
    return NO_KEY if "the encoder answers embed_tokens alone" in (call.details() or "") else str(call.code().name)


def inner_request(model: str, tokens: int, key: int = 0) -> Any:
    """A request to a model behind embed_tokens, with one row of this number of tokens."""
    request = ModelInferRequest(model_name=model)
    for name, datatype, width in TENSORS[model]:
        request.inputs.add(name=name, datatype=datatype, shape=[tokens, width])
        value = key.to_bytes(8, "little") * tokens if name == "key" else bytes(tokens * width * BYTES[datatype])
        request.raw_input_contents.append(value)
    return request


def wrapping_request(model: str, shape: Sequence[int], tensors: slice) -> Any:
    """A request in which the sizes of some tensors wrap, with the remaining number of bytes."""
    request = inner_request(model, 4)
    for at in range(len(request.inputs))[tensors]:
        del request.inputs[at].shape[:]
        request.inputs[at].shape.extend(shape)
        left = math.prod(shape) * BYTES[request.inputs[at].datatype] % 2**64
        request.raw_input_contents[at] = bytes(left if left < ONE_MIB else 0)
    return request


def sizes_that_wrap(url: str) -> Counter[str]:
    every = [
        wrapping_request(model, shape, tensors)
        for model in TENSORS
        for shape in WRAPPING
        for tensors in (slice(None), slice(0, 1), slice(-1, None))
    ]
    return send_all(url, every * 3)


def rows_of_no_token(url: str) -> Counter[str]:
    empty = [wrapping_request(model, (0, width), slice(None)) for model in TENSORS for width in (1, 256)]
    return send_all(url, empty * 20)


def requests_to_inner_models(url: str) -> Counter[str]:
    models = [model for model in TENSORS if model != "embed_tokens"]
    return send_all(url, [inner_request(models[number % 3], 512, key=number) for number in range(MANY)])


def many_requests_to_the_encoder(url: str) -> Counter[str]:
    return send_all(url, [inner_request("encoder", 1)] * 10_000)


def many_empty_texts(url: str) -> Counter[str]:
    request = protocol.text_request([""] * 64, protocol.parameters(priority="bulk", timeout_s=5))
    return send_all(url, [request] * MANY)


def requests_in_the_canarys_lane(url: str) -> Counter[str]:
    texts = ["카나리아가 아닌 요청입니다."] * 64
    keys = ["", "guessed", "0" * 43]
    return send_all(
        url, [protocol.text_request(texts, {"lane": "canary", "canary_key": keys[at % 3]}) for at in range(MANY)]
    )


def requests_for_token_embeddings(url: str) -> Counter[str]:
    rows = pack_rows([[7] * 64] * 64)
    parameters = protocol.parameters(priority="query", timeout_s=2)
    return send_all(url, [protocol.tokens_request(rows, parameters, protocol.TOKEN_EMBEDDINGS)] * MANY)


def token_embeddings_of_long_texts(url: str) -> Counter[str]:
    with SentenceEncoder(url) as encoder:
        found = encoder.encode(["숙소가 역에서 가까워요. " * 40] * 400, output_value="token_embeddings")
    assert all(len(tokens) == len(found[0]) and np.isfinite(np.asarray(tokens)).all() for tokens in found)
    return Counter(OK=len(found))


def texts_of_a_mebibyte(url: str) -> Counter[str]:
    text = ("숙소가 지하철역에서 가까워서 편했어요. " * 20_000).encode()[: ONE_MIB - 2].decode(errors="ignore")
    request = protocol.text_request([text], protocol.parameters(timeout_s=10))
    with ThreadPoolExecutor(64) as pool:
        return sum(pool.map(lambda _: send_all(url, [request]), range(64)), Counter())


def many_long_texts(url: str) -> Counter[str]:
    request = protocol.text_request(["숙소가 역에서 가까워요. " * 40] * 64, protocol.parameters(timeout_s=5))
    return send_all(url, [request] * MANY)


def many_rows_at_once(url: str) -> Counter[str]:
    request = protocol.text_request(
        ["벌크로 보내는 문장입니다."] * 64, protocol.parameters(priority="bulk", timeout_s=5)
    )
    return send_all(url, [request] * MANY)


ATTACKS: dict[str, Callable[[str], Counter[str]]] = {
    attack.__name__.replace("_", " "): attack
    for attack in (
        sizes_that_wrap,
        rows_of_no_token,
        requests_to_inner_models,
        many_requests_to_the_encoder,
        many_empty_texts,
        requests_in_the_canarys_lane,
        requests_for_token_embeddings,
        token_embeddings_of_long_texts,
        texts_of_a_mebibyte,
        many_long_texts,
        many_rows_at_once,
    )
}
