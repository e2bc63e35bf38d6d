"""Embeds a stream of any length in chunks, reading at most two ahead, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import operator
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sized,
)
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from itertools import islice
from typing import Any, SupportsIndex, TypeVar

from sentriton.allowed import check_names
from sentriton.arguments import in_order, one_name, whole_number
from sentriton.errors import InvalidInput, SentritonError
from sentriton.keywords import AnyArguments
from sentriton.quantization import STREAM_PRECISION

CHUNK_SENTENCES = 2048
_CHUNKS_UNDER_WAY = 2  # the next one is sent while the last answers of one are pending

Chunk = TypeVar("Chunk", bound=Sized)


def stream_arguments(sentences: object, arguments: AnyArguments) -> tuple[Any, SupportsIndex, AnyArguments]:
    """The sentences of a stream, the size of its chunks, and the options of `encode`. Raises `InvalidInput` for a wrong
    size or precision, a single string, or unordered sentences.
    """
    check_names("encode", arguments, AnyArguments.__annotations__)
    arguments = arguments.copy()
    name, given = one_name(sentences, arguments.pop("inputs", None))
    chunk_size = arguments.pop("chunk_size", None)
    if isinstance(given, str):
        raise InvalidInput(f"{name} is {given!r}; a stream takes an iterable of strings, encode a single one")
    if not isinstance(given, AsyncIterable):
        in_order(name, given)
    chunk_size = CHUNK_SENTENCES if chunk_size is None else chunk_size
    whole_number("chunk_size", chunk_size)
    if (precision := arguments.get("precision")) is not None:
        STREAM_PRECISION.check("precision", precision)
    return given, chunk_size, arguments


def encode_chunks(
    sentences: Iterable[str], size: SupportsIndex, encode: Callable[[list[str]], Chunk], leave: Callable[[], object]
) -> Generator[Chunk, None, None]:
    """The embeddings of each chunk of `size` sentences, in order. `leave` ends the chunks in progress."""
    under_way: deque[Future[Chunk]] = deque()
    taken = 0

    def take() -> Chunk:
        nonlocal taken
        with _counted_from(taken):
            encoded = under_way.popleft().result()
        taken += len(encoded)
        return encoded

    with ThreadPoolExecutor(_CHUNKS_UNDER_WAY, thread_name_prefix="sentriton-stream") as pool:
        try:
            for chunk in _chunks(sentences, size):
                # In the caller's context, which has the trace.
                under_way.append(pool.submit(copy_context().run, encode, chunk))
                if len(under_way) == _CHUNKS_UNDER_WAY:
                    yield take()
            while under_way:
                yield take()
        finally:
            leave()


async def async_encode_chunks(
    sentences: Iterable[str] | AsyncIterable[str], size: SupportsIndex, encode: Callable[[list[str]], Awaitable[Chunk]]
) -> AsyncGenerator[Chunk, None]:
    """`encode_chunks` for asyncio. Leaving it cancels the chunks in progress."""
    under_way: deque[asyncio.Future[Chunk]] = deque()
    taken = 0

    async def take() -> Chunk:
        nonlocal taken
        with _counted_from(taken):
            encoded = await under_way.popleft()
        taken += len(encoded)
        return encoded

    try:
        async for chunk in _async_chunks(sentences, size):
            under_way.append(asyncio.ensure_future(encode(chunk)))
            if len(under_way) == _CHUNKS_UNDER_WAY:
                yield await take()
        while under_way:
            yield await take()
    finally:
        for task in under_way:
            task.cancel()


@contextmanager
def _counted_from(start: int) -> Iterator[None]:
    """Add the position of a chunk's first sentence to its errors."""
    try:
        yield
    except SentritonError as error:
        raise type(error)(f"{error}, counted from sentence {start:,} of the stream") from error


def _chunks(sentences: Iterable[str], size: SupportsIndex) -> Iterator[list[str]]:
    """Lists of `size` sentences, read at the start of each. The last may be shorter."""
    remaining = iter(sentences)
    while chunk := list(islice(remaining, operator.index(size))):
        yield chunk


async def _async_chunks(sentences: Iterable[str] | AsyncIterable[str], size: SupportsIndex) -> AsyncIterator[list[str]]:
    if not isinstance(sentences, AsyncIterable):
        for chunk in _chunks(sentences, size):
            yield chunk
        return
    chunk = []
    async for sentence in sentences:
        chunk.append(sentence)
        if len(chunk) >= operator.index(size):
            yield chunk
            chunk = []
    if chunk:
        yield chunk
