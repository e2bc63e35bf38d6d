"""What a server may be sent: hypothesis strategies for KServe requests, from nearly right to mere bytes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tritonclient.grpc.service_pb2 import ModelInferRequest

from sentriton import protocol

MODELS = ["embed_text", "embed_tokens", "tokenizer", "embed_batch", "encoder", "pooling", "assets"]
TENSORS = ["text", "input_ids", "attention_mask", "token_embeddings", "sentence_embedding", "name", "content"]
DTYPES = ["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES", ""]
PARAMETERS = [
    *("lane", "fingerprint", "timeout", "priority", "classification", "binary_data_output"),
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
sizes = st.one_of(st.integers(0, 70), st.sampled_from([-1, -(2**63), 513, 2**16, 2**31, 2**32 + 1, 2**63 - 1]))
shapes = st.lists(sizes, max_size=4)
ids = st.one_of(st.integers(0, 40_000), st.sampled_from([-1, -(2**63), 2**31, 2**63 - 1]))
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
    """Token ids and masks that are right in form; their values, and whether their shapes agree, are not sure."""
    rows, length = draw(st.integers(1, 66)), draw(st.one_of(st.integers(0, 40), st.sampled_from([512, 513, 700])))
    input_ids = np.full((rows, length), draw(ids), dtype=np.int64)
    attention_mask = np.full((rows, length), draw(st.sampled_from([1, 1, 1, 0, 2, 3, -1])), dtype=np.int64)
    if draw(st.booleans()):
        attention_mask = attention_mask[:, : draw(st.integers(0, 40))]
    model = draw(st.sampled_from(["embed_tokens", "embed_batch", "encoder"]))
    return protocol.tokens_request(input_ids, attention_mask, model=model)


@st.composite
def pooling_requests(draw: st.DrawFn) -> Any:
    rows, length, width = draw(st.integers(1, 9)), draw(st.integers(0, 9)), draw(st.sampled_from([256, 255, 1]))
    request = ModelInferRequest(model_name="pooling")
    request.inputs.add(name="token_embeddings", datatype="FP32", shape=[rows, length, width])
    mask_length = draw(st.sampled_from([length, length + 1]))
    request.inputs.add(name="attention_mask", datatype="INT64", shape=[rows, mask_length])
    request.raw_input_contents.append(np.full((rows, length, width), draw(st.floats(width=32)), np.float32).tobytes())
    request.raw_input_contents.append(np.full((rows, mask_length), draw(ids), np.int64).tobytes())
    return request


@st.composite
def text_requests(draw: st.DrawFn) -> Any:
    elements = draw(st.lists(text, max_size=8))
    request = ModelInferRequest(model_name=draw(st.sampled_from(["embed_text", "tokenizer", "assets"])))
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
            pooling_requests(),
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
