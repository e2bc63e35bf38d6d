"""Requests and responses of the models, as KServe v2 (Open Inference Protocol) messages: plain functions, no
network.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import ModelInferRequest

from sentriton.errors import InvalidInput, ServerError
from sentriton.tokenization import PackedRows

EMBED_TEXT, EMBED_TOKENS, ASSETS = "embed_text", "embed_tokens", "assets"
SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS = "sentence_embedding", "token_embeddings"
LANES = ("query", "bulk")  # for callers
CANARY_LANE = "canary"  # before both; open to whoever has the canary key alone


def text_request(texts: Sequence[str], parameters: dict[str, str | int] | None = None) -> Any:
    """A request to `embed_text`: `text` BYTES [rows, 1]."""
    return _request(EMBED_TEXT, [("text", "BYTES", [len(texts), 1], _bytes_tensor(texts))], parameters)


def tokens_request(
    tokens: PackedRows, parameters: dict[str, str | int] | None = None, output: str = SENTENCE_EMBEDDING
) -> Any:
    """A request to `embed_tokens` for one of its outputs: packed rows, all tensors [tokens, 1]."""
    tensors = [
        ("input_ids", "INT32", [len(tokens.row), 1], tokens.input_ids.astype("<i4").tobytes()),
        ("row", "INT32", [len(tokens.row), 1], tokens.row.astype("<i4").tobytes()),
        ("pooled", "BOOL", [len(tokens.row), 1], tokens.pooled.tobytes()),
    ]
    request = _request(EMBED_TOKENS, tensors, parameters)
    request.outputs.add(name=output)
    return request


def asset_request(name: str) -> Any:
    """A request to `assets`: `name` BYTES [1]."""
    return _request(ASSETS, [("name", "BYTES", [1], _bytes_tensor([name]))], None)


def parameters(
    *,
    fingerprint: str | None = None,
    priority: str = "query",
    timeout_s: float | None = None,
    canary_key: str | None = None,
) -> dict[str, str | int]:
    """Request parameters: the model that is meant, the lane, and how long the request may wait in the server's queue.

    `canary_key` opens the canary's lane, whatever `priority` says. Raises `InvalidInput` for an unknown lane.
    """
    if priority not in LANES:
        raise InvalidInput(f"priority is {priority!r}; allowed are {', '.join(map(repr, LANES))}")
    named: dict[str, str | int] = {"lane": priority}
    if canary_key is not None:
        named = {"lane": CANARY_LANE, "canary_key": canary_key}
    if fingerprint is not None:
        named["fingerprint"] = fingerprint
    if timeout_s is not None:
        named["timeout"] = max(1, int(timeout_s * 1e6))  # Triton counts microseconds
    return named


def read_sentence_embedding(response: Any) -> NDArray[np.float32]:
    """`sentence_embedding` of a response, float32 [rows, dimension]; a view of the message's bytes."""
    if not (response.outputs and response.raw_output_contents):
        raise ServerError("the server sent a response without a sentence_embedding")
    output = response.outputs[0]
    raw = response.raw_output_contents[0]
    rows, dimension = output.shape
    if len(raw) != rows * dimension * 4:
        raise ServerError(f"the server sent {len(raw)} bytes for a sentence_embedding of shape [{rows}, {dimension}]")
    return np.frombuffer(raw, dtype="<f4").reshape(rows, dimension)


def read_token_embeddings(response: Any) -> NDArray[np.float32]:
    """`token_embeddings` of a response, float32 [tokens, hidden], the rows one behind the other; a view of the
    message's bytes.
    """
    if not (response.outputs and response.raw_output_contents):
        raise ServerError("the server sent a response without token_embeddings")
    return np.frombuffer(response.raw_output_contents[0], dtype="<f4").reshape(tuple(response.outputs[0].shape))


def read_asset(response: Any) -> bytes:
    """`content` of a response of `assets`."""
    raw: bytes = response.raw_output_contents[0]
    content = raw[4:]
    if raw[:4] != struct.pack("<I", len(content)):
        raise ServerError(f"the server sent an asset that is cut off ({len(raw)} bytes)")
    return content


def _bytes_tensor(texts: Sequence[str]) -> bytes:
    # Each element: its length as 4 bytes, little-endian, then UTF-8.
    encoded = [text.encode("utf-8") for text in texts]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def _request(
    model: str, tensors: list[tuple[str, str, list[int], bytes]], parameters: dict[str, str | int] | None
) -> Any:
    request = ModelInferRequest(model_name=model)
    for name, datatype, shape, raw in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    for key, value in (parameters or {}).items():
        if isinstance(value, int):
            request.parameters[key].int64_param = value
        else:
            request.parameters[key].string_param = value
    return request
