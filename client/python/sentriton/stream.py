"""Cuts a stream of any length into chunks, reading no further than it must."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sentriton.arguments import in_order, whole_number
from sentriton.errors import InvalidInput, SentritonError

CHUNK_SIZE = 2048  # sentences; two chunks are under way at a time


def stream_chunk_size(sentences: Any, chunk_size: Any) -> int:
    """The size of a stream's chunks. Raises `InvalidInput` for one that cannot be, for a single string, whose letters
    would be taken, and for sentences in no order.
    """
    if isinstance(sentences, str):
        raise InvalidInput(f"sentences is {sentences!r}; a stream takes an iterable of strings, encode a single one")
    if not isinstance(sentences, AsyncIterable):
        in_order("sentences", sentences)
    return whole_number("chunk_size", chunk_size)


@contextmanager
def counted_from(start: int) -> Iterator[None]:
    """An error of a chunk counts from the chunk's first sentence: it says which one of the stream that is."""
    try:
        yield
    except SentritonError as error:
        raise type(error)(f"{error}, counted from sentence {start:,} of the stream") from error


def chunks(sentences: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of `size` sentences, the last of what is left."""
    remaining = iter(sentences)
    while chunk := list(islice(remaining, size)):
        yield chunk


async def async_chunks(sentences: Iterable[str] | AsyncIterable[str], size: int) -> AsyncIterator[list[str]]:
    """The same from an iterable or an async one."""
    if not isinstance(sentences, AsyncIterable):
        for chunk in chunks(sentences, size):
            yield chunk
        return
    chunk = []
    async for sentence in sentences:
        chunk.append(sentence)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
