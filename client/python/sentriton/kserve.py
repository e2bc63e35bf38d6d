"""KServe v2's messages and stub, from tritonclient's generated code. kserve.pyi declares their types."""

from __future__ import annotations

from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse, ServerReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

# One class serves both kinds of channel.
Stub = AsyncStub = GRPCInferenceServiceStub

__all__ = ["AsyncStub", "ModelInferRequest", "ModelInferResponse", "ServerReadyRequest", "Stub"]
