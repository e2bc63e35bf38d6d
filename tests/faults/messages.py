"""Hypothesis strategies for KServe requests, from nearly right to mere bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tritonclient.grpc.service_pb2 import ModelInferRequest

from sentriton import protocol
from sentriton.tokenization import pack_rows

MODELS = ["embed_text", "embed_tokens", "embed_batch", "encoder", "pooling", "assets"]
TENSORS = [
    *("text", "input_ids", "row", "pooled", "key", "token_embeddings", "sentence_embedding", "name", "content"),
]
DTYPES = ["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES", ""]
PARAMETERS = [
    *("lane", "fingerprint", "canary_key", "timeout", "priority", "classification", "binary_data_output"),
    *("sequence_id", "sequence_start", "sequence_end", "triton_enable_empty_final_response", "traceparent"),
    *("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"),
]
CONTENTS = {
    "bool_contents": st.booleans(),
    "int_contents": st.integers(-(2**31), 2**31 - 1),
    "int64_contents": st.integers(-(2**63), 2**63 - 1),
    "uint_contents": st.integers(0, 2**32 - 1),
    "fp32_contents": st.floats(width=32),
    "fp64_contents": st.floats(),
    "bytes_contents": st.binary(max_size=20),
}

names = st.one_of(st.sampled_from(TENSORS), st.text(max_size=8))
# The last ones wrap when they are multiplied by each other, or by the bytes of an element, in 64 bits.
WRAPPING = [2**54, 2**58, 2**61, 2**61 + 1, 2**61 + 4, 2**62, 2**32, 2**32 + 1, 2**63 - 1]
WRAPPING_SHAPES = [[2**61, 1], [1, 2**61], [4, 2**61 + 1], [64, 2**58], [2**61 + 4, 1], [1, 2**54, 256]]
sizes = st.one_of(st.integers(0, 70), st.sampled_from([-1, -(2**61), -(2**63), 513, 2**16, 2**31, *WRAPPING]))
shapes = st.lists(sizes, max_size=4)
ids = st.one_of(st.integers(0, 40_000), st.sampled_from([-1, -(2**31), 2**31 - 1]))
text = st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=60))
parameter_values = st.one_of(
    st.tuples(st.just("bool_param"), st.booleans()),
    st.tuples(st.just("int64_param"), st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1))),
    st.tuples(
        st.just("string_param"), st.one_of(st.sampled_from(["query", "bulk", "canary", ""]), st.text(max_size=9))
    ),
    st.tuples(st.just("double_param"), st.floats()),
    st.tuples(st.just("uint64_param"), st.integers(0, 2**64 - 1)),
)
parameters = st.dictionaries(st.one_of(st.sampled_from(PARAMETERS), st.text(max_size=8)), parameter_values, max_size=3)


def byte_elements(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


@st.composite
def random_tensors(draw: st.DrawFn, message: Any) -> None:
    """Put any tensors into a message, which need not agree with anything."""
    for _ in range(draw(st.integers(0, 3))):
        tensor = message.inputs.add(name=draw(names), datatype=draw(st.sampled_from(DTYPES)), shape=draw(shapes))
        _set_parameters(tensor, draw(st.one_of(st.just({}), parameters)))
        if draw(st.booleans()):
            field, values = draw(st.sampled_from(sorted(CONTENTS.items(), key=lambda pair: pair[0])))
            getattr(tensor.contents, field).extend(draw(st.lists(values, max_size=8)))
    message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=64), max_size=3)))
    for name in draw(st.lists(names, max_size=2)):
        _set_parameters(message.outputs.add(name=name), draw(st.one_of(st.just({}), parameters)))


@st.composite
def token_requests(draw: st.DrawFn) -> Any:
    """Packed rows that are right in form; whether their values and numbers agree is not sure."""
    lengths = draw(st.lists(st.one_of(st.integers(0, 40), st.sampled_from([512, 513, 700])), max_size=66))
    rows = pack_rows([[draw(ids)] * length for length in lengths] or [[5]])
    if draw(st.integers(0, 3)) == 0:
        rows = replace(rows, row=rows.row + draw(st.sampled_from([-1, 1, 2**30])))
    if draw(st.integers(0, 3)) == 0:
        rows = replace(rows, row=rows.row[::-1].copy())
    output = draw(st.sampled_from(["sentence_embedding", "sentence_embedding", "token_embeddings"]))
    return protocol.tokens_request(rows, output=output)


@st.composite
def inner_requests(draw: st.DrawFn) -> Any:
    """Requests in the form of the models behind embed_tokens, with a key that is a guess."""
    model = draw(st.sampled_from(["embed_batch", "encoder", "pooling"]))
    count, width = draw(st.sampled_from([1, 3, 70, 1024])), draw(st.sampled_from([256, 256, 255, 1]))
    row = np.sort(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))).astype("<i4")
    tensors = {
        "input_ids": ("INT32", 1, np.full(count, draw(st.integers(-1, 40_000)), "<i4")),
        "row": ("INT32", 1, row),
        "pooled": ("BOOL", 1, np.ones(count, np.bool_)),
        "key": ("INT64", 1, np.full(count, draw(st.sampled_from([0, -1, 7, 2**63 - 1])), "<i8")),
        "token_embeddings": ("FP32", width, np.full(count * width, draw(st.floats(width=32)), "<f4")),
    }
    names = {
        "encoder": ("input_ids", "row", "key"),
        "embed_batch": ("input_ids", "pooled", "row", "key"),
        "pooling": ("token_embeddings", "pooled", "row", "key"),
    }
    request = ModelInferRequest(model_name=model)
    for name in names[model]:
        datatype, size, values = tensors[name]
        request.inputs.add(name=name, datatype=datatype, shape=[count, size])
        request.raw_input_contents.append(values.tobytes())
    return request


@st.composite
def wrapping_requests(draw: st.DrawFn) -> Any:
    """A request whose shapes have sizes that wrap in 64 bits, with as many bytes as are left then."""
    request = draw(st.one_of(token_requests(), inner_requests()))
    for tensor in draw(st.sampled_from([request.inputs, request.inputs[:1]])):
        shape = draw(st.sampled_from(WRAPPING_SHAPES))
        del tensor.shape[:]
        tensor.shape.extend(shape)
    width = {"INT64": 8, "BOOL": 1}
    for at, tensor in enumerate(request.inputs):
        left = (math.prod(tensor.shape) * width.get(tensor.datatype, 4)) % 2**64
        if left < 2**20:
            request.raw_input_contents[at] = bytes(left)
    return request


@st.composite
def text_requests(draw: st.DrawFn) -> Any:
    elements = draw(st.lists(text, max_size=8))
    request = ModelInferRequest(model_name=draw(st.sampled_from(["embed_text", "embed_text", "assets"])))
    shape = draw(st.sampled_from([[len(elements), 1], [len(elements)], [1], [1, len(elements)], [2**31, 1]]))
    request.inputs.add(name=draw(st.sampled_from(["text", "text", "name"])), datatype="BYTES", shape=shape)
    raw = byte_elements(elements)
    request.raw_input_contents.append(raw[: draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))])
    return request


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """A request for one of the models, nearly right or anything."""
    message = draw(
        st.one_of(
            token_requests(),
            text_requests(),
            inner_requests(),
            wrapping_requests(),
            st.builds(ModelInferRequest, model_name=st.one_of(st.sampled_from(MODELS), st.text(max_size=9))),
        )
    )
    if not message.inputs or draw(st.integers(0, 3)) == 0:
        draw(random_tensors(message))
    _set_parameters(message, draw(st.one_of(st.just({}), parameters)))
    message.model_version = draw(st.sampled_from([*[""] * 12, "1", "-1", "2", "x"]))
    message.id = draw(st.sampled_from(["", "", "한국어", "x" * 1000]))
    return message


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """The bytes of a call: a request's, whole, cut off or with some of them changed; or no request's at all."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    raw = bytearray(draw(requests()).SerializeToString())
    if raw and draw(st.integers(0, 9)) == 0:
        del raw[draw(st.integers(0, len(raw) - 1)) :]
    if raw and draw(st.integers(0, 9)) == 0:
        for _ in range(draw(st.integers(1, 3))):
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw)


def _set_parameters(message: Any, values: dict[str, tuple[str, Any]]) -> None:
    for name, (field, value) in values.items():
        setattr(message.parameters[name], field, value)
