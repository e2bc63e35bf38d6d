"""Closing an encoder leaves its requests a little time to end, because a cancellation at an answer can crash Triton."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sentriton import AsyncSentenceEncoder, SentenceEncoder, SentritonError
from tests.small_server import WORDS, SmallServer
from tests.waiting import until, until_async

GRACE_S = 0.1


@pytest.mark.parametrize("answers", [True, False])
def test_closing_leaves_requests_a_little_time(answers: bool) -> None:
    left: list[Any] = []

    async def body(server: SmallServer) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: left.append(context))
        encoder = AsyncSentenceEncoder(server.url)
        await encoder.connect()
        before = server.answered
        server.silent.set()
        given = (
            encoder.encode("w1"),
            encoder.encode(WORDS[:20], batch_size=10),
            encoder.health(),
        )
        calls = [asyncio.create_task(each) for each in given]
        await until_async(lambda: server.under_way == 3 and server.asked == before + 1)
        started = time.monotonic()
        closing = asyncio.create_task(encoder.close())
        await asyncio.sleep(0.03)
        assert not closing.done()
        assert server.answered == before
        assert server.cancelled == 0
        if answers:
            server.silent.clear()
        await closing
        for call in calls:
            with pytest.raises(SentritonError, match=r"^this encoder is closed; make a new one$"):
                await call
        await until_async(lambda: server.answered + server.cancelled == before + 4)
        assert server.cancelled == (0 if answers else 4)
        assert answers or time.monotonic() - started >= GRACE_S
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gc.collect()

    with SmallServer() as server:
        asyncio.run(body(server))
    assert left == []


@pytest.mark.parametrize("answers", [True, False])
def test_closing_leaves_requests_of_threads_a_little_time(answers: bool) -> None:
    with SmallServer() as server, ThreadPoolExecutor(3) as pool:
        encoder = SentenceEncoder(server.url)
        before = server.answered
        server.silent.set()
        given: list[Callable[[], object]] = [
            lambda: encoder.encode("w1"),
            lambda: encoder.encode(WORDS[:20], batch_size=10),
            encoder.health,
        ]
        calls = [pool.submit(each) for each in given]
        until(lambda: server.under_way == 3 and server.asked == before + 1)
        if answers:
            threading.Timer(0.03, server.silent.clear).start()
        started = time.monotonic()
        encoder.close()
        assert answers or time.monotonic() - started >= GRACE_S
        for call in calls:
            with pytest.raises(SentritonError, match=r"^this encoder is closed; make a new one$"):
                call.result(10)
        until(lambda: server.answered + server.cancelled == before + 4)
        assert server.cancelled == (0 if answers else 4)
