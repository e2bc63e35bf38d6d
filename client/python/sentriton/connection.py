"""One channel to one server, and the few calls that Sentriton makes over it."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc.service_pb2 import ModelInferRequest, ServerReadyRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sentriton import protocol
from sentriton.assets import GOLDEN, MANIFEST, read_golden, read_manifest
from sentriton.channel import call_metadata, open_channel
from sentriton.errors import translated
from sentriton.golden import Golden
from sentriton.manifest import Manifest
from sentriton.settings import ClientSettings
from sentriton.tracing import trace_headers


class Connection:
    """An open channel to one address (host:port). Methods raise `SentritonError`s."""

    def __init__(self, address: str, settings: ClientSettings | None = None) -> None:
        settings = settings or ClientSettings()
        self.address = address
        self._metadata = call_metadata(settings)
        self._channel = open_channel(address, settings)
        self._stub = GRPCInferenceServiceStub(self._channel)

    def infer(self, request: ModelInferRequest, timeout_s: float | None) -> Any:
        """Send one request and wait for its response."""
        with translated(self.address):
            return self._stub.ModelInfer(request, timeout=timeout_s, metadata=(*self._metadata, *trace_headers()))

    def start_infer(self, request: ModelInferRequest, timeout_s: float | None) -> Any:
        """Send one request; `result_of` gives what came of the call."""
        return self._stub.ModelInfer.future(request, timeout=timeout_s, metadata=(*self._metadata, *trace_headers()))

    def result_of(self, call: Any) -> Any:
        """The response of a call that has ended."""
        with translated(self.address):
            return call.result()

    def asset(self, name: str, timeout_s: float | None) -> bytes:
        """The content of an asset such as manifest.json."""
        return protocol.read_asset(self.infer(protocol.asset_request(name), timeout_s))

    def manifest(self, timeout_s: float | None) -> Manifest:
        """What the server says of its model."""
        return read_manifest(self.address, self.asset(MANIFEST, timeout_s))

    def golden(self, manifest: Manifest, timeout_s: float | None) -> Golden:
        """The server's golden sentences and their vectors."""
        return read_golden(self.address, manifest, self.asset(GOLDEN, timeout_s))

    def is_ready(self, timeout_s: float | None) -> bool:
        """What Triton says of itself; the canary says more."""
        with translated(self.address):
            return bool(self._stub.ServerReady(ServerReadyRequest(), timeout=timeout_s, metadata=self._metadata).ready)

    def close(self) -> None:
        self._channel.close()
