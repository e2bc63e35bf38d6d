"""Requests and responses as KServe v2 messages, without network."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from sentriton.arguments import choice
from sentriton.errors import ServerError
from sentriton.keywords import Priority
from sentriton.kserve import ModelInferRequest, ModelInferResponse
from sentriton.tokenization import PackedRows

EMBED_TEXT, EMBED_TOKENS, ASSETS = "embed_text", "embed_tokens", "assets"
SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS = "sentence_embedding", "token_embeddings"
CALLERS_LANES: tuple[Priority, ...] = get_args(Priority)
CANARY_LANE = "canary"  # precedes both; needs the canary key


def text_request(texts: Sequence[str], parameters: dict[str, str | int] | None = None) -> ModelInferRequest:
    """A request to `embed_text`: `text` BYTES [rows, 1]."""
    return _request(EMBED_TEXT, [("text", "BYTES", [len(texts), 1], _bytes_tensor(texts))], parameters)


def tokens_request(
    tokens: PackedRows, parameters: dict[str, str | int] | None = None, output: str = SENTENCE_EMBEDDING
) -> ModelInferRequest:
    """A request to `embed_tokens` for one of its outputs: packed rows, all tensors [tokens, 1]."""
    tensors = [
        ("input_ids", "INT32", [len(tokens.row), 1], tokens.input_ids.astype("<i4").tobytes()),
        ("row", "INT32", [len(tokens.row), 1], tokens.row.astype("<i4").tobytes()),
        ("pooled", "BOOL", [len(tokens.row), 1], tokens.pooled.tobytes()),
    ]
    request = _request(EMBED_TOKENS, tensors, parameters)
    request.outputs.add(name=output)
    return request


def asset_request(name: str) -> ModelInferRequest:
    """A request to `assets`: `name` BYTES [1]."""
    return _request(ASSETS, [("name", "BYTES", [1], _bytes_tensor([name]))], None)


def parameters(
    *,
    fingerprint: str | None = None,
    priority: str = "query",
    timeout_s: float | None = None,
    canary_key: str | None = None,
) -> dict[str, str | int]:
    """Request parameters: the model, the lane, and the time in the server's queue.

    `canary_key` opens the canary's lane at any `priority`. Raises `InvalidInput` for an unknown lane.
    """
    named: dict[str, str | int] = {"lane": choice("priority", priority, CALLERS_LANES)}
    if canary_key is not None:
        named = {"lane": CANARY_LANE, "canary_key": canary_key}
    if fingerprint is not None:
        named["fingerprint"] = fingerprint
    if timeout_s is not None:
        named["timeout"] = max(1, int(timeout_s * 1e6))  # microseconds
    return named


def read_sentence_embedding(
    response: ModelInferResponse, rows: int | None = None, dimension: int | None = None, *, finite: bool = True
) -> NDArray[np.float32]:
    """`sentence_embedding` of a response, float32 [rows, dimension], a view of the message's bytes. Raises
    `ServerError` for another form (`dimension` None: any), and for NaN or infinity if `finite`.
    """
    embeddings = _read_matrix(response, SENTENCE_EMBEDDING, (EMBED_TEXT, EMBED_TOKENS), [rows, dimension])
    if finite:
        check_finite(embeddings, SENTENCE_EMBEDDING)
    return embeddings


def read_token_embeddings(response: ModelInferResponse, tokens: int) -> NDArray[np.float32]:
    """`token_embeddings` of a response, float32 [tokens, hidden] in the order of the rows, a view of the message's
    bytes. Raises `ServerError` for another number of tokens, NaN or infinity.
    """
    embeddings = _read_matrix(response, TOKEN_EMBEDDINGS, (EMBED_TOKENS,), [tokens, None])
    check_finite(embeddings, TOKEN_EMBEDDINGS)
    return embeddings


def check_finite(embeddings: NDArray[np.float32], name: str) -> None:
    """Raises `ServerError` for the first row of an output that has NaN or infinity."""
    if not np.isfinite(embeddings).all():
        row = int(np.isfinite(embeddings).all(axis=1).argmin())
        raise ServerError(f"the server sent {name} with NaN or infinity in row {row}; expected numbers")


def read_asset(response: ModelInferResponse) -> bytes:
    """`content` of a response of `assets`, BYTES [1]. Raises `ServerError` for another form."""
    shape, raw = _output(response, "content", "BYTES", (ASSETS,))
    content = raw[4:]
    if shape != [1] or raw[:4] != struct.pack("<I", len(content)):
        raise ServerError(
            f"the server sent an asset of shape {shape} in {len(raw)} bytes that begin with 0x{raw[:4].hex()}; "
            "expected shape [1], the first 4 bytes being the length of the rest"
        )
    return content


def _read_matrix(
    response: ModelInferResponse, name: str, models: Sequence[str], expected: Sequence[int | None]
) -> NDArray[np.float32]:
    """The float32 output `name` of a response, with two dimensions as `expected` (None: any size)."""
    shape, raw = _output(response, name, "FP32", models)
    if len(shape) != 2 or any(want not in (None, came) for came, want in zip(shape, expected, strict=True)):
        wanted = ", ".join("any number" if want is None else str(want) for want in expected)
        raise ServerError(f"the server sent {name} of shape {shape}; expected [{wanted}]")
    if len(raw) != (size := shape[0] * shape[1] * 4):
        raise ServerError(f"the server sent {len(raw)} bytes for {name} of shape {shape}; expected {size}")
    return np.frombuffer(raw, dtype="<f4").reshape(shape)


def _output(response: ModelInferResponse, name: str, datatype: str, models: Sequence[str]) -> tuple[list[int], bytes]:
    """Shape and bytes of the output `name`, of this datatype and one of these models."""
    if response.model_name not in models:
        raise ServerError(
            f"the server sent an answer of the model {response.model_name!r}; expected {' or '.join(models)}"
        )
    found = [place for place, output in enumerate(response.outputs) if output.name == name]
    if len(found) != 1 or len(response.raw_output_contents) != len(response.outputs):
        names = ", ".join(repr(output.name) for output in response.outputs) or "none"
        raise ServerError(
            f"the server sent the outputs {names} with {len(response.raw_output_contents)} contents; expected {name!r} "
            "once, and a content for each output"
        )
    output = response.outputs[found[0]]
    if output.datatype != datatype:
        raise ServerError(f"the server sent {name} as {output.datatype!r}; expected {datatype}")
    return list(output.shape), response.raw_output_contents[found[0]]


def _bytes_tensor(texts: Sequence[str]) -> bytes:
    # Each element: its length as 4 bytes, little-endian, then UTF-8.
    encoded = [text.encode("utf-8") for text in texts]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def _request(
    model: str, tensors: list[tuple[str, str, list[int], bytes]], parameters: dict[str, str | int] | None
) -> ModelInferRequest:
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
