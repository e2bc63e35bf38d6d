from collections.abc import Iterable

import grpc
import grpc.aio
from google.protobuf.internal.containers import (
    MessageMap,
    RepeatedCompositeFieldContainer,
    RepeatedScalarFieldContainer,
)
from google.protobuf.message import Message

class InferParameter(Message):
    bool_param: bool
    int64_param: int
    string_param: str

class ModelInferRequest(Message):
    class InferInputTensor(Message):
        name: str
        datatype: str
        shape: RepeatedScalarFieldContainer[int]

    class InferRequestedOutputTensor(Message):
        name: str

    model_name: str
    parameters: MessageMap[str, InferParameter]
    inputs: RepeatedCompositeFieldContainer[InferInputTensor]
    outputs: RepeatedCompositeFieldContainer[InferRequestedOutputTensor]
    raw_input_contents: RepeatedScalarFieldContainer[bytes]
    def __init__(self, *, model_name: str = ...) -> None: ...

class ModelInferResponse(Message):
    class InferOutputTensor(Message):
        name: str
        datatype: str
        shape: RepeatedScalarFieldContainer[int]

    model_name: str
    outputs: RepeatedCompositeFieldContainer[InferOutputTensor]
    raw_output_contents: RepeatedScalarFieldContainer[bytes]
    def __init__(self, *, model_name: str = ..., raw_output_contents: Iterable[bytes] = ...) -> None: ...

class ServerReadyRequest(Message): ...

class ServerReadyResponse(Message):
    ready: bool

class Stub:
    ModelInfer: grpc.UnaryUnaryMultiCallable[ModelInferRequest, ModelInferResponse]
    ServerReady: grpc.UnaryUnaryMultiCallable[ServerReadyRequest, ServerReadyResponse]
    def __init__(self, channel: grpc.Channel) -> None: ...

class AsyncStub:
    ModelInfer: grpc.aio.UnaryUnaryMultiCallable[ModelInferRequest, ModelInferResponse]
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
