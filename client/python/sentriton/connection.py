"""A channel to one server and its calls, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

from sentriton.certificates import channel_credentials
from sentriton.endpoints import AnyConnection
from sentriton.errors import CLOSED, SentritonError, translated
from sentriton.kserve import AsyncStub, ModelInferRequest, ModelInferResponse, ServerReadyRequest, Stub
from sentriton.probe import explained, proxy_of
from sentriton.settings import ClientSettings
from sentriton.tracing import trace_headers

if TYPE_CHECKING:
    PendingCall: TypeAlias = grpc.Future[ModelInferResponse]

ACCESS_HEADER = "triton-grpc-protocol-access-key"  # Triton adds `triton-grpc-protocol-` to the name

_OPTIONS: list[tuple[str, int | str]] = [
    # gRPC's default is 4 MB, 1,000 vectors of 1,024 dimensions.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Otherwise channels to one address share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Detects a dead connection before the deadline.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC's default grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # gRPC re-resolves a name at most every 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    # The time limit of connecting, despite its name.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # The client retries by itself, within its deadline and budget.
    ("grpc.enable_retries", 0),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
]

Result = TypeVar("Result")


class _Channel:
    """An open channel to one address (host:port). Methods raise `SentritonError`s."""

    def __init__(self, grpc: Any, address: str, settings: ClientSettings) -> None:
        self.address, self.settings = address, settings
        self.pending: set[Any] = set()
        self.closing = False
        self._key = () if settings.access_key is None else ((ACCESS_HEADER, settings.access_key),)
        self._channel = _channel(grpc, address, settings)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self.closing:
            raise SentritonError(CLOSED)
        return (*self._key, *trace_headers())


class Connection(_Channel):
    def __init__(self, address: str, settings: ClientSettings | None = None) -> None:
        super().__init__(grpc, address, settings or ClientSettings())
        self._stub = Stub(self._channel)

    def infer(self, request: ModelInferRequest, timeout_s: float | None) -> ModelInferResponse:
        call = object()
        self.pending.add(call)
        try:
            with translated(self.address):
                return self._stub.ModelInfer(request, timeout=timeout_s, metadata=self._metadata())
        finally:
            self.pending.discard(call)

    def start_infer(self, request: ModelInferRequest, timeout_s: float | None) -> PendingCall:
        """Send a request. `result_of` returns its response."""
        call: PendingCall = self._stub.ModelInfer.future(request, timeout=timeout_s, metadata=self._metadata())
        self.pending.add(call)
        call.add_done_callback(self.pending.discard)
        return call

    def result_of(self, call: PendingCall) -> ModelInferResponse:
        with translated(self.address):
            return call.result()

    def is_ready(self, timeout_s: float) -> bool:
        """Whether Triton reports ready. The canary tests more."""
        try:
            with translated(self.address):
                answer = self._stub.ServerReady(ServerReadyRequest(), timeout=timeout_s, metadata=self._metadata())
        except SentritonError as error:
            raise explained(error, self.address, self.settings, timeout_s) from error.__cause__
        return bool(answer.ready)

    def close(self) -> None:
        self._channel.close()


class AsyncConnection(_Channel):
    def __init__(self, address: str, settings: ClientSettings) -> None:
        super().__init__(grpc.aio, address, settings)
        self._stub = AsyncStub(self._channel)
        self._closed = False

    async def infer(self, request: ModelInferRequest, timeout_s: float | None) -> ModelInferResponse:
        call = self._stub.ModelInfer(request, timeout=timeout_s, metadata=self._metadata())
        self.pending.add(call)
        try:
            with translated(self.address):
                return await call
        except asyncio.CancelledError as error:
            if self._closed:
                raise SentritonError(CLOSED) from error
            raise
        finally:
            self.pending.discard(call)

    async def close(self) -> None:
        self._closed = True  # the channel cancels the calls that are left
        await self._channel.close()


@dataclass(frozen=True)
class Question(Generic[AnyConnection]):
    """A request to one server, and the time for its response."""

    connection: AnyConnection
    request: ModelInferRequest
    timeout_s: float


def ask(questions: Generator[Question[Connection], ModelInferResponse, Result]) -> Result:
    """Send the generator's questions, pass it each response or error, and return its value."""
    try:
        question = next(questions)
        while True:
            try:
                response = question.connection.infer(question.request, question.timeout_s)
            except SentritonError as error:
                question = questions.throw(_explained(error, question))
            else:
                question = questions.send(response)
    except StopIteration as ended:
        return ended.value


async def ask_async(questions: Generator[Question[AsyncConnection], ModelInferResponse, Result]) -> Result:
    """`ask` for asyncio."""
    try:
        question = next(questions)
        while True:
            try:
                response = await question.connection.infer(question.request, question.timeout_s)
            except SentritonError as error:
                question = questions.throw(await asyncio.to_thread(_explained, error, question))
            else:
                question = questions.send(response)
    except StopIteration as ended:
        return ended.value


def _explained(error: SentritonError, question: Question[Any]) -> SentritonError:
    return explained(error, question.connection.address, question.connection.settings, question.timeout_s)


def _channel(grpc: Any, address: str, settings: ClientSettings) -> Any:
    credentials = channel_credentials(settings)
    options = [*_OPTIONS, ("grpc.enable_http_proxy", bool(proxy_of(address)))]
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    if settings.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return grpc.secure_channel(address, credentials, options=options)
