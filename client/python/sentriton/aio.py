"""`AsyncSentenceEncoder`: the same encoder for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import grpc
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sentriton import protocol
from sentriton.base import (
    MANIFEST,
    TOKENIZER,
    BaseEncoder,
    EncodeOptions,
    Results,
    ServedModel,
    as_texts,
    time_left_s,
)
from sentriton.channel import call_metadata, open_channel
from sentriton.dispatch import Attempt
from sentriton.endpoints import Endpoint, Endpoints
from sentriton.errors import ContractMismatch, SentritonError, ServerUnavailable, translate
from sentriton.progress import progress_bar
from sentriton.settings import ClientSettings
from sentriton.stream import CHUNK_SIZE, async_chunks, counted_from, stream_chunk_size
from sentriton.tokenization import TextTokenizer
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

    async def connect(self) -> None:
        """Read manifest and tokenizer from the first server that answers; nothing to do when that is done."""
        async with self._connecting:
            self._check_open()
            if self._endpoints is not None:
                return
            connections = [AsyncConnection(address, self.settings) for address in self.settings.addresses]
            try:
                self._served = await self._read_model(connections, time.monotonic() + self.settings.timeout_s)
            except BaseException:
                for connection in connections:
                    await connection.close()
                raise
            self._endpoints = Endpoints([Endpoint(connection.address, connection) for connection in connections])

    async def encode(
        self,
        sentences: str | Iterable[str],
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
        timeout_s: float | None = None,
    ) -> Any:
        """Embed sentences, as `SentenceEncoder.encode`. Cancelling the task cancels its requests."""
        texts, single = as_texts(sentences)
        await self.connect()
        deadline = time.monotonic() + self._timeout_s(timeout_s)
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
        self, sentences: str | Iterable[str], prompt_name: str | None = None, prompt: str | None = None, **options: Any
    ) -> Any:
        """`encode` with the model's "query" prompt, unless another is given."""
        await self.connect()
        return await self.encode(sentences, self.query_prompt_name(prompt_name, prompt), prompt, **options)

    async def encode_document(
        self, sentences: str | Iterable[str], prompt_name: str | None = None, prompt: str | None = None, **options: Any
    ) -> Any:
        """`encode` with the model's "document", "passage" or "corpus" prompt, unless another is given."""
        await self.connect()
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

    async def _reload(self, old: ServedModel, deadline: float) -> None:
        """Take up the model that is served now, unless another task did."""
        assert self._endpoints is not None
        async with self._connecting:
            if self._model is old:
                connections = [endpoint.channel for endpoint in self._endpoints.all]
                self._served = await self._read_model(connections, deadline)

    async def _read_model(self, connections: list[AsyncConnection], deadline: float) -> ServedModel:
        """Manifest and tokenizer of the first server that answers."""
        failure: SentritonError = ServerUnavailable(f"no answer from {self.url}")
        for connection in connections:
            try:
                content = await connection.asset(MANIFEST, time_left_s(deadline))
                manifest = self._read_manifest(connection.address, content)
                tokenizer = self._cached_tokenizer(manifest)
                if tokenizer is None:
                    content = await connection.asset(TOKENIZER, time_left_s(deadline))
                    tokenizer = self._keep_tokenizer(connection.address, manifest, content)
                return ServedModel(manifest, TextTokenizer(tokenizer.decode("utf-8")))
            except SentritonError as error:
                failure = error
        raise failure

    async def _run(
        self, texts: list[str], model: ServedModel, options: EncodeOptions, results: Results, deadline: float
    ) -> None:
        """Send all requests of a call and collect their answers; cancels what is under way when it ends early."""
        assert self._endpoints is not None
        endpoints = self._endpoints
        dispatcher = self._dispatcher(self._plan(texts, model, options), len(texts), deadline)
        outcomes: asyncio.Queue[tuple[Attempt, Endpoint[AsyncConnection], asyncio.Task[Any]]] = asyncio.Queue()
        under_way: set[asyncio.Task[Any]] = set()

        def send(attempt: Attempt, now: float) -> None:
            endpoint = endpoints.choose(now)
            request = self._request(attempt.rows, model, options, deadline - now)
            task = asyncio.create_task(endpoint.channel.infer(request, deadline - now))
            endpoint.begin()
            under_way.add(task)

            def ended(task: asyncio.Task[Any]) -> None:
                endpoint.end()
                outcomes.put_nowait((attempt, endpoint, task))

            task.add_done_callback(ended)

        with progress_bar(options.show_progress_bar, len(texts)) as advance:
            try:
                while not dispatcher.done:
                    self._check_open()
                    if dispatcher.unprepared and len(texts) > _TOKENIZE_INLINE:
                        await asyncio.to_thread(dispatcher.prepare)
                    else:
                        dispatcher.prepare()
                    if (next_attempt := dispatcher.next(time.monotonic())) is not None:
                        send(next_attempt, time.monotonic())
                        continue
                    wait_s = dispatcher.wait_s(time.monotonic())
                    try:
                        attempt, endpoint, task = await asyncio.wait_for(outcomes.get(), wait_s)
                    except asyncio.TimeoutError:
                        continue
                    under_way.discard(task)
                    self._check_open()
                    self._settle(dispatcher, attempt, endpoint, task.result, results)
                    advance(dispatcher.finished)
            except Exception as error:
                self._check_open(error)
                raise
            finally:
                self._window = dispatcher.window
                for task in under_way:
                    task.cancel()
