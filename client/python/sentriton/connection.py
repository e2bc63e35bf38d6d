"""One channel to one server, and the few calls that Sentriton makes over it."""

from __future__ import annotations

from typing import Any

import grpc
from tritonclient.grpc.service_pb2 import ModelInferRequest, ServerReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sentriton import protocol
from sentriton.errors import translated

DEFAULT_URL = "localhost:8001"
_CHANNEL_OPTIONS = [
    # gRPC's own limit is 4 MB, 1,000 vectors of 1,024 dimensions.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Each encoder its own connection: else all channels of a process to one address share one.
    ("grpc.use_local_subchannel_pool", 1),
]


class Connection:
    """An open channel to `url` (host:port). All methods raise `SentritonError`s."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._channel = grpc.insecure_channel(url, options=_CHANNEL_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)

    def infer(self, request: ModelInferRequest, timeout_s: float | None) -> Any:
        """Send one request and wait for its response."""
        with translated(self.url):
            return self._stub.ModelInfer(request, timeout=timeout_s)

    def start_infer(self, request: ModelInferRequest, timeout_s: float | None) -> grpc.Future[Any]:
        """Send one request; the future's `result()` raises gRPC's own errors: wrap it in `translated`."""
        return self._stub.ModelInfer.future(request, timeout=timeout_s)

    def asset(self, name: str, timeout_s: float | None) -> bytes:
        """The content of an asset such as manifest.json."""
        return protocol.read_asset(self.infer(protocol.asset_request(name), timeout_s))

    def is_ready(self, timeout_s: float | None) -> bool:
        """What Triton says of itself; the canary says more."""
        with translated(self.url):
            return bool(self._stub.ServerReady(ServerReadyRequest(), timeout=timeout_s).ready)

    def close(self) -> None:
        self._channel.close()
