"""`AsyncSentenceEncoder`: the same encoder for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import grpc
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sentriton import protocol
from sentriton.arguments import Sentences
from sentriton.assets import MANIFEST, kept_tokenizer, read_manifest, read_tokenizer
from sentriton.base import BaseEncoder, EncodeOptions, Results, ServedModel
from sentriton.channel import call_metadata, open_channel
from sentriton.deadline import LOOK_EVERY_S, MARGIN_S, Deadline
from sentriton.dispatch import Sending
from sentriton.endpoints import Endpoint, Endpoints, Inquiry
from sentriton.errors import ContractMismatch, SentritonError, translate
from sentriton.manifest import TOKENIZER, Manifest
from sentriton.progress import progress_bar
from sentriton.settings import ClientSettings
from sentriton.stream import CHUNK_SIZE, async_chunks, counted_from, stream_chunk_size
from sentriton.tracing import trace_headers

_TOKENIZE_INLINE = 64  # sentences; more are tokenized in a thread, so that the event loop goes on


class AsyncConnection:
    """An open asyncio channel to one address. Methods raise `SentritonError`s."""

    def __init__(self, address: str, settings: ClientSettings) -> None:
        self.address = address
        self._metadata = call_metadata(settings)
        self._channel = open_channel(address, settings, grpc.aio)
        self._stub = GRPCInferenceServiceStub(self._channel)

    async def infer(self, request: ModelInferRequest, timeout_s: float | None) -> Any:
        """Send one request and wait for its response."""
        try:
            return await self._stub.ModelInfer(request, timeout=timeout_s, metadata=(*self._metadata, *trace_headers()))
        except grpc.RpcError as error:
            raise translate(error, self.address) from error

    async def asset(self, name: str, timeout_s: float | None) -> bytes:
        """The content of an asset such as manifest.json."""
        return protocol.read_asset(await self.infer(protocol.asset_request(name), timeout_s))

    async def manifest(self, timeout_s: float | None) -> Manifest:
        """What the server says of its model."""
        return read_manifest(self.address, await self.asset(MANIFEST, timeout_s))

    async def close(self) -> None:
        await self._channel.close()


class AsyncSentenceEncoder(BaseEncoder):
    """`SentenceEncoder` for asyncio: the same arguments, methods and results; what asks the server is awaited.

    Connects on `async with`, on `await encoder.connect()`, or with its first call. For use in one event loop.

    >>> async with AsyncSentenceEncoder("localhost:8001") as encoder:
    ...     embeddings = await encoder.encode(["A first sentence.", "And a second one."])
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float | None = None,
        stall_timeout_s: float | None = None,
        priority: str | None = None,
        max_in_flight: int | None = None,
        on_model_change: str | None = None,
        tls: bool | None = None,
        root_certificates: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
        server_name: str | None = None,
        access_key: str | None = None,
    ) -> None:
        super().__init__(
            url=url,
            timeout_s=timeout_s,
            stall_timeout_s=stall_timeout_s,
            priority=priority,
            max_in_flight=max_in_flight,
            on_model_change=on_model_change,
            tls=tls,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            server_name=server_name,
            access_key=access_key,
        )
        self._endpoints: Endpoints[AsyncConnection] | None = None
        self._connecting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def connect(self) -> None:
        """Read manifest and tokenizer from the first server that answers; nothing to do when that is done."""
        await self._connect(self._deadline())

    async def _connect(self, deadline: Deadline) -> None:
        """`connect` for a call that ends at `deadline`, also where it waits for another call that connects."""
        self._check_open()
        self._check_loop()
        if self._endpoints is not None:
            return
        try:
            await asyncio.wait_for(self._connect_once(deadline), deadline.left_s(time.monotonic()) + MARGIN_S)
        except asyncio.TimeoutError as error:
            raise deadline.exceeded(self.url) from error

    async def _connected(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call, with what is left of its `timeout_s` when it is connected."""
        deadline = self._deadline(options.get("timeout_s"))
        if self._endpoints is None and deadline.end != math.inf:
            await self._connect(deadline)
            return {**options, "timeout_s": max(1e-3, deadline.end - time.monotonic())}
        await self._connect(deadline)
        return options

    async def _connect_once(self, deadline: Deadline) -> None:
        async with self._connecting:
            self._check_open()
            if self._endpoints is not None:
                return
            connections = [AsyncConnection(address, self.settings) for address in self.settings.addresses]
            endpoints = Endpoints([Endpoint(connection.address, connection) for connection in connections])
            try:
                self._served = await self._read_model(endpoints, deadline)
                self._check_open()
            except BaseException:
                for connection in connections:
                    await connection.close()
                raise
            self._endpoints = endpoints

    def _check_loop(self) -> None:
        """Raises in any event loop but the one of the first call, to which gRPC's channel belongs."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise SentritonError(
                "this encoder belongs to the event loop that first used it, and another one runs now; make an "
                "AsyncSentenceEncoder in each event loop (each asyncio.run has its own)"
            )

    async def encode(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        *,
        inputs: Sentences | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Embed sentences, as `SentenceEncoder.encode`. Cancelling the task cancels its requests."""
        deadline = self._deadline(timeout_s)
        texts, single = self._texts(sentences, inputs, deadline)
        await self._connect(deadline)
        for changes in itertools.count(1):
            model = self._model
            options = self._options(
                model,
                single=single,
                prompt_name=prompt_name,
                prompt=prompt,
                batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                output_value=output_value,
                precision=precision,
                convert_to_numpy=convert_to_numpy,
                convert_to_tensor=convert_to_tensor,
                normalize_embeddings=normalize_embeddings,
                truncate_dim=truncate_dim,
            )
            results = Results(len(texts), options)
            try:
                await self._run(texts, model, options, results, deadline)
                break
            except ContractMismatch:
                if not self._may_reload(changes):
                    raise
                await self._reload(model, deadline)
        return results.finish()

    async def encode_query(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """`encode` with the model's "query" prompt, unless another is given."""
        options = await self._connected(options)
        return await self.encode(sentences, self.query_prompt_name(prompt_name, prompt), prompt, **options)

    async def encode_document(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """`encode` with the model's "document", "passage" or "corpus" prompt, unless another is given."""
        options = await self._connected(options)
        return await self.encode(sentences, self.document_prompt_name(prompt_name, prompt), prompt, **options)

    async def encode_stream(
        self, sentences: Iterable[str] | AsyncIterable[str], *, chunk_size: int = CHUNK_SIZE, **options: Any
    ) -> AsyncIterator[NDArray[Any]]:
        """Embed any number of sentences in constant memory, as `SentenceEncoder.encode_stream`."""
        size = stream_chunk_size(sentences, chunk_size)
        under_way: deque[asyncio.Task[Any]] = deque()
        await self.connect()
        encode = self._pinned().encode
        taken = 0

        async def take() -> NDArray[Any]:
            nonlocal taken
            with counted_from(taken):
                embeddings: NDArray[Any] = await under_way.popleft()
            taken += size
            return embeddings

        try:
            async for chunk in async_chunks(sentences, size):
                under_way.append(asyncio.create_task(encode(chunk, **options)))
                if len(under_way) == 2:
                    yield await take()
            while under_way:
                yield await take()
        except Exception as error:
            self._check_open(error)
            raise
        finally:
            for task in under_way:
                task.cancel()

    async def close(self) -> None:
        """Close the connections. Calls that are still under way fail."""
        self._closed.set()
        if self._endpoints is not None:
            for endpoint in self._endpoints.all:
                await endpoint.channel.close()

    async def __aenter__(self) -> AsyncSentenceEncoder:
        await self.connect()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _reload(self, old: ServedModel, deadline: Deadline) -> None:
        """Take up the model that is served now, unless another task did."""
        assert self._endpoints is not None
        async with self._connecting:
            if self._model is old:
                try:
                    self._served = await self._read_model(self._endpoints, deadline)
                except Exception as error:
                    self._check_open(error)
                    raise

    async def _read_model(self, endpoints: Endpoints[AsyncConnection], deadline: Deadline) -> ServedModel:
        """Manifest and tokenizer of the first server that answers."""
        inquiry = Inquiry(endpoints.all, deadline)
        while turn := inquiry.turn(time.monotonic()):
            endpoint, time_s = turn
            try:
                manifest = await endpoint.channel.manifest(time_s)
                deadline.moved(time.monotonic())
                tokenizer = kept_tokenizer(endpoint.address, manifest)
                if tokenizer is None:
                    content = await endpoint.channel.asset(TOKENIZER, deadline.left_s(time.monotonic()))
                    tokenizer = read_tokenizer(endpoint.address, manifest, content)
                deadline.moved(time.monotonic())
                return ServedModel(manifest, tokenizer)
            except SentritonError as error:
                inquiry.failed(error, time.monotonic())
        raise inquiry.failure

    async def _run(
        self, texts: list[str], model: ServedModel, options: EncodeOptions, results: Results, deadline: Deadline
    ) -> None:
        """Send all requests of a call and collect their answers; cancels what is under way when it ends early."""
        assert self._endpoints is not None
        dispatcher = self._dispatcher(self._plan(texts, model, options), len(texts), deadline, self._endpoints)
        outcomes: asyncio.Queue[tuple[Sending, asyncio.Task[Any]]] = asyncio.Queue()

        def send(sending: Sending) -> None:
            time_s = sending.until - sending.sent
            request = self._request(sending.attempt.rows, model, options, time_s)
            task = asyncio.create_task(sending.endpoint.channel.infer(request, time_s))
            sending.endpoint.begin(sending, sending.sent)
            sending.cancel = task.cancel

            def ended(task: asyncio.Task[Any]) -> None:
                sending.endpoint.end(sending)
                if not task.cancelled():
                    task.exception()  # asked for, as asyncio wants it, also where the outcome matters no more
                outcomes.put_nowait((sending, task))

            task.add_done_callback(ended)

        with progress_bar(options.show_progress_bar, len(texts)) as advance:
            try:
                while not dispatcher.done:
                    self._check_open()
                    if dispatcher.unprepared and len(texts) > _TOKENIZE_INLINE:
                        await asyncio.to_thread(dispatcher.prepare)
                    else:
                        dispatcher.prepare()
                    if (next_sending := dispatcher.next(time.monotonic())) is not None:
                        send(next_sending)
                        continue
                    wait_s = min(LOOK_EVERY_S, dispatcher.wait_s(time.monotonic()))
                    try:
                        sending, task = await asyncio.wait_for(outcomes.get(), wait_s)
                    except asyncio.TimeoutError:
                        continue
                    self._check_open()
                    self._settle(dispatcher, sending, task.result, results)
                    advance(dispatcher.finished)
            except Exception as error:
                self._check_open(error)
                raise
            finally:
                self._window = dispatcher.window
                dispatcher.cancel()
