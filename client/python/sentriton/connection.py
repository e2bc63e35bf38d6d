"""A channel to one server and its calls, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

from sentriton.certificates import channel_credentials
from sentriton.endpoints import AnyConnection
from sentriton.errors import SentritonError, translated
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

# The time for requests to end by themselves at `close`. A cancellation at an answer can crash Triton (issue 7368).
GRACE_S = 0.1

Result = TypeVar("Result")


class Connection:
    """An open channel to one address (host:port). Methods raise `SentritonError`s."""

    def __init__(self, address: str, settings: ClientSettings | None = None) -> None:
        self.address, self.settings = address, settings or ClientSettings()
        self._metadata = _call_metadata(self.settings)
        self._channel: grpc.Channel = _channel(grpc, address, self.settings)
        self._stub = Stub(self._channel)
        self._pending: set[PendingCall] = set()
        self._closing = False

    def infer(self, request: ModelInferRequest, timeout_s: float | None) -> ModelInferResponse:
        return self.result_of(self.start_infer(request, timeout_s))

    def start_infer(self, request: ModelInferRequest, timeout_s: float | None) -> PendingCall:
        """Send a request. `result_of` returns its response."""
        metadata = (*self._metadata, *trace_headers())
        call: PendingCall = self._stub.ModelInfer.future(request, timeout=timeout_s, metadata=metadata)
        self._pending.add(call)
        call.add_done_callback(self._pending.discard)
        return call

    def cancel(self, call: PendingCall) -> None:
        """Cancel a request, unless the connection is closing."""
        if not self._closing:
            call.cancel()

    def result_of(self, call: PendingCall) -> ModelInferResponse:
        with translated(self.address):
            return call.result()

    def is_ready(self, timeout_s: float) -> bool:
        """Whether Triton reports ready. The canary tests more."""
        try:
            with translated(self.address):
                answer = self._stub.ServerReady(ServerReadyRequest(), timeout=timeout_s, metadata=self._metadata)
        except SentritonError as error:
            raise explained(error, self.address, self.settings, timeout_s) from error.__cause__
        return bool(answer.ready)

    def begin_close(self) -> None:
        """From here on, only `close` cancels requests."""
        self._closing = True

    def close(self, end: float = 0.0) -> None:
        """Close the channel. Its requests have until `end` (of `time.monotonic`), then they are cancelled."""
        for call in self._pending.copy():
            with suppress(grpc.FutureTimeoutError, grpc.FutureCancelledError):
                call.exception(timeout=max(0.0, end - time.monotonic()))
        self._channel.close()


class AsyncConnection:
    """An open asyncio channel to one address. Methods raise `SentritonError`s."""

    def __init__(self, address: str, settings: ClientSettings) -> None:
        self.address, self.settings = address, settings
        self._metadata = _call_metadata(settings)
        self._channel: grpc.aio.Channel = _channel(grpc.aio, address, settings)
        self._stub = AsyncStub(self._channel)
        self._closed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending: set[asyncio.Future[Any]] = set()

    async def infer(self, request: ModelInferRequest, timeout_s: float | None) -> ModelInferResponse:
        """Send a request and wait for its response. Cancelling cancels the request, except after `close`."""
        if not self._closed.done():
            call = self._stub.ModelInfer(request, timeout=timeout_s, metadata=(*self._metadata, *trace_headers()))
            pending: asyncio.Future[Any] = asyncio.ensure_future(call)
            self._pending.add(pending)
            pending.add_done_callback(self._ended)
            try:
                await asyncio.wait([pending, self._closed], return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not self._closed.done():
                    pending.cancel()
            if not self._closed.done():
                with translated(self.address):
                    response: ModelInferResponse = pending.result()
                    return response
        raise SentritonError(f"the connection to {self.address} is closed")

    def close(self) -> Awaitable[None]:
        """Fail the calls at once. Their requests have `GRACE_S` to end, then they are cancelled."""
        if not self._closed.done():
            self._closed.set_result(None)
        return self._close()

    async def _close(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending, timeout=GRACE_S)
        await self._channel.close()
        await asyncio.gather(*self._pending, return_exceptions=True)

    def _ended(self, pending: asyncio.Future[Any]) -> None:
        self._pending.discard(pending)
        if not pending.cancelled():
            pending.exception()  # otherwise asyncio warns


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
        result: Result = ended.value
        return result


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
        result: Result = ended.value
        return result


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


def _call_metadata(settings: ClientSettings) -> tuple[tuple[str, str], ...]:
    return () if settings.access_key is None else ((ACCESS_HEADER, settings.access_key),)
