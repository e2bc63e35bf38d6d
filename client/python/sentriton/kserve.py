"""KServe v2's messages and the stub of its service, from tritonclient's generated code. That code has no types, so that
kserve.pyi declares those of the fields that this client uses.
"""

from __future__ import annotations

from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse, ServerReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

# One class serves both kinds of channel.
Stub = AsyncStub = GRPCInferenceServiceStub

__all__ = ["AsyncStub", "ModelInferRequest", "ModelInferResponse", "ServerReadyRequest", "Stub"]
