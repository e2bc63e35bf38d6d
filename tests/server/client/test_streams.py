"""`encode_stream`: order, little reading ahead, leaving early, errors in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from sentriton import (
    InvalidInput,
)
from tests.event_loop import InEventLoop
from tests.server.client.sentences import MANY, close
from tests.server.conftest import RunningServer


def test_stream_keeps_order_and_reads_little_ahead(encoder: Any, reference: SentenceTransformer) -> None:
    read, taken = 0, []

    def source() -> Iterator[str]:
        nonlocal read
        for sentence in MANY:
            read += 1
            yield sentence

    stream = encoder.encode_stream(source(), chunk_size=20, normalize_embeddings=True)
    assert read == 0
    for chunk in stream:
        assert read - 20 * len(taken) <= 40
        taken.append(chunk)
    assert [len(chunk) for chunk in taken] == [20] * 7 + [10]
    close(np.concatenate(taken), reference.encode(MANY, normalize_embeddings=True))


def test_stream_of_an_async_iterable(server: RunningServer, reference: SentenceTransformer) -> None:
    read, taken = 0, []

    async def source() -> AsyncIterator[str]:
        nonlocal read
        for sentence in MANY:
            read += 1
            yield sentence

    with closing(InEventLoop(server.url)) as encoder:
        for chunk in encoder.encode_stream(source(), chunk_size=20):
            assert read - 20 * len(taken) <= 40
            taken.append(chunk)
    close(np.concatenate(taken), reference.encode(MANY))


def test_a_stream_may_be_left(encoder: Any) -> None:
    stream = encoder.encode_stream(MANY, chunk_size=10)
    first = next(stream)
    stream.close()
    close(encoder.encode(MANY[:10]), first)


def test_leaving_a_stream_cancels_what_is_under_way(connect: Callable[..., Any], server: RunningServer) -> None:
    before, size = server.published("sentriton_rows_total", lane="query"), 1500
    # Two chunks are in progress. The second takes longer, and has most of its work left when the first is done.
    sentences = ["짧다"] * size + ["아주 긴 문장 " * 40] * size
    with closing(connect(server.url, max_in_flight=1)) as encoder:
        stream = encoder.encode_stream(sentences, chunk_size=size)
        next(stream)
        stream.close()
        encoder.encode("문장")
    computed = server.published("sentriton_rows_total", lane="query") - before
    assert size < computed < 2 * size, "the second chunk was computed although no caller waited for it"


def test_a_stream_of_nothing(encoder: Any) -> None:
    assert list(encoder.encode_stream([])) == []


def test_a_stream_names_what_is_wrong_and_where(encoder: Any) -> None:
    stream = encoder.encode_stream([*MANY[:20], "fine", 3], chunk_size=10)
    assert [len(next(stream)) for _ in range(2)] == [10, 10]
    with pytest.raises(InvalidInput, match=r"sentences\[1\] is 3 \(int\).*, counted from sentence 20 of the stream$"):
        next(stream)
