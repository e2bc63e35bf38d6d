"""`AsyncSentenceEncoder` for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from sentriton.base import BaseEncoder
from sentriton.call import Call, Pin
from sentriton.connection import AsyncConnection, ask_async
from sentriton.deadline import MARGIN_S, Deadline
from sentriton.dispatch import AsyncDispatcher
from sentriton.endpoints import Endpoint, Endpoints
from sentriton.errors import ContractMismatch, SentritonError
from sentriton.golden import HEALTH_TIMEOUT_S, HealthReport
from sentriton.joined_dispatch import AsyncJoinedDispatcher
from sentriton.keywords import Encoded, Sentences
from sentriton.manifest import Manifest
from sentriton.options import DOCUMENT_PROMPTS, QUERY_PROMPTS
from sentriton.questions import health_questions, model_questions
from sentriton.served_model import ServedModel
from sentriton.signatures import async_encode_signature, async_stream_signature
from sentriton.stream import async_encode_chunks, stream_arguments

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from sentriton.keywords import AnyArguments, Settings


class AsyncSentenceEncoder(BaseEncoder[AsyncConnection]):
    """`SentenceEncoder` for asyncio, with the same arguments, results and errors.

    It connects on `async with`, `connect` or the first call. Before that, members that need the model, such as
    `manifest`, `prompts`, `token_ids` and `similarity`, raise a `SentritonError`. All tasks of one event loop may share
    an encoder.

    >>> async with AsyncSentenceEncoder("localhost:8001") as encoder:
    ...     embeddings = await encoder.encode(["A first sentence.", "And a second one."])
    """

    def __init__(self, url: str | None = None, **settings: Unpack[Settings]) -> None:
        super().__init__(url, **settings)
        self._connecting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def connect(self) -> None:
        """Connect to the first server that answers, unless connected. Raises a `SentritonError` if none does."""
        await self._connect(self._session.deadline())

    @async_encode_signature
    async def encode(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> Encoded:
        """Return the embeddings, like `SentenceEncoder.encode`. Cancelling the task cancels its requests."""
        return await self._encode(Call(self._session, sentences, prompt_name, prompt, arguments))

    @async_encode_signature
    async def encode_query(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> Encoded:
        """Return embeddings like `SentenceEncoder.encode_query`."""
        call = Call(self._session, sentences, prompt_name, prompt, arguments, preferred_prompts=QUERY_PROMPTS)
        return await self._encode(call)

    @async_encode_signature
    async def encode_document(
        self,
        sentences: Sentences | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> Encoded:
        """Return embeddings like `SentenceEncoder.encode_document`."""
        call = Call(self._session, sentences, prompt_name, prompt, arguments, preferred_prompts=DOCUMENT_PROMPTS)
        return await self._encode(call)

    @async_stream_signature
    async def encode_stream(
        self,
        sentences: Iterable[str] | AsyncIterable[str] | None = None,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[AnyArguments],
    ) -> AsyncGenerator[Encoded]:
        """Yield the embeddings in chunks, like `SentenceEncoder.encode_stream`. `sentences` may be asynchronous."""
        given, size, arguments = stream_arguments(sentences, arguments)
        await self.connect()
        pin = Pin(self._session.model)

        async def encode(chunk: list[str]) -> Encoded:
            return await self._encode(Call(self._session, chunk, prompt_name, prompt, arguments, pin=pin))

        with self._session.checking():
            async with aclosing(async_encode_chunks(given, size, encode)) as stream:
                async for embeddings in stream:
                    yield embeddings

    async def info(self) -> Manifest:
        """Return the manifest of the served model. Connects if necessary."""
        await self.connect()
        return self.manifest

    async def health(self, timeout_s: float = HEALTH_TIMEOUT_S) -> HealthReport:
        """Check the first server, like `SentenceEncoder.health`."""
        deadline = self._session.deadline(timeout_s)
        await self._connect(deadline)
        with self._session.checking():
            return await ask_async(health_questions(self._session.open_endpoints.all[0], deadline))

    async def close(self) -> None:
        """Close the connections, like `SentenceEncoder.close`. Leaving an `async with` block does this too."""
        try:
            for pause_s in self._session.close():
                await asyncio.sleep(pause_s)
        finally:
            if self._session.endpoints is not None:
                for endpoint in self._session.endpoints.all:
                    await endpoint.connection.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _encode(self, call: Call[AsyncConnection]) -> Encoded:
        await self._connect(call.deadline)
        while True:
            call.begin()
            try:
                if not (call.is_small and await AsyncJoinedDispatcher(call).run()):
                    call.open_course()
                    await AsyncDispatcher(call).run()
                return call.finish()
            except ContractMismatch as error:
                await self._reload(call.changed(error), call.deadline)

    async def _connect(self, deadline: Deadline) -> None:
        """`connect` within `deadline`."""
        self._session.check_open()
        self._check_loop()
        if self._session.endpoints is not None:
            return
        connecting = asyncio.create_task(self._connect_once(deadline))
        try:
            await asyncio.wait([connecting], timeout=deadline.left_s(time.monotonic()) + MARGIN_S)
        finally:
            late = connecting.cancel()
            await asyncio.wait([connecting])
        if late:
            raise deadline.exceeded(self.url)
        connecting.result()

    async def _connect_once(self, deadline: Deadline) -> None:
        async with self._connecting:
            self._session.check_open()
            if self._session.endpoints is not None:
                return
            servers = [Endpoint(each, AsyncConnection(each, self.settings)) for each in self.settings.addresses]
            endpoints = Endpoints(servers)
            try:
                self._session.served = await ask_async(model_questions(endpoints, deadline))
                self._session.check_open()
            except BaseException:
                for endpoint in endpoints.all:
                    await endpoint.connection.close()
                raise
            self._session.open(endpoints)

    async def _reload(self, old: ServedModel, deadline: Deadline) -> None:
        """Switch to the served model, unless another task did."""
        async with self._connecting:
            if self._session.model is old:
                questions = model_questions(self._session.open_endpoints, deadline, old)
                with self._session.checking():
                    self._session.served = await ask_async(questions)

    def _check_loop(self) -> None:
        """Raises in any event loop but the first call's, which owns gRPC's channel."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise SentritonError(
                "this encoder belongs to another event loop; make an "
                "AsyncSentenceEncoder in each event loop (each asyncio.run has its own)"
            )
