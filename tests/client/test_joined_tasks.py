"""Waiting small calls of one asyncio encoder share a request, and each has the result of a separate one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import numpy as np
import pytest

from sentriton import AsyncSentenceEncoder, DeadlineExceeded, InvalidInput, SentritonError
from tests.small_server import WORDS, SmallServer, first_tokens, vectors
from tests.waiting import SOON_S, until_async

PLACES = 4  # requests in flight before calls wait


class Callers:
    """Calls in tasks. `hold` keeps all places taken until `release`, so that calls meanwhile wait."""

    def __init__(self, server: SmallServer, encoder: AsyncSentenceEncoder) -> None:
        self.server = server
        self.encoder = encoder
        self.held: list[asyncio.Task[Any]] = []

    def call(self, *arguments: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.encoder.encode(*arguments, **options))

    async def hold(self) -> None:
        self.server.silent.set()
        for place in range(PLACES):
            self.held.append(self.call(WORDS[place]))
            await until_async(lambda: self.server.received == len(self.held))

    async def waiting(self, *calls: asyncio.Task[Any]) -> list[asyncio.Task[Any]]:
        """The calls, once all wait."""
        await until_async(lambda: len(self.encoder._session.joiner._waiting) == len(calls))
        return list(calls)

    async def release(self) -> None:
        self.server.silent.clear()
        await assert_vectors(self.held, WORDS[:PLACES])


async def assert_vectors(calls: list[asyncio.Task[Any]], words: list[str]) -> None:
    for call, word in zip(calls, words, strict=True):
        np.testing.assert_array_equal(await call, vectors([word])[0])


def run(server: SmallServer, body: Callable[[Callers], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """`body` in an event loop with an encoder of its own."""

    async def within() -> None:
        async with AsyncSentenceEncoder(server.url, **settings) as encoder:
            await asyncio.wait_for(body(Callers(server, encoder)), 2 * SOON_S)

    try:
        asyncio.run(within())
    finally:
        server.silent.clear()


def test_tasks_that_are_ready_together_leave_together(server: SmallServer) -> None:
    async def body(callers: Callers) -> None:
        calls = [callers.call(word) for word in WORDS[:20]]
        await assert_vectors(calls, WORDS[:20])
        assert server.received == 1

    run(server, body)


def test_calls_that_wait_leave_together(server: SmallServer) -> None:
    async def body(callers: Callers) -> None:
        await callers.hold()
        calls = await callers.waiting(*map(callers.call, WORDS[10:30]))
        await callers.release()
        await assert_vectors(calls, WORDS[10:30])
        assert server.received == PLACES + 1

    run(server, body)


def test_a_bad_neighbour_fails_alone(server: SmallServer) -> None:
    def refuse(number: int, context: Any) -> None:
        if 13 in first_tokens(server.requests[number]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a wrong row")

    async def body(callers: Callers) -> None:
        calls = {word: callers.call(word) for word in WORDS[10:20]}
        with pytest.raises(InvalidInput, match=r"^a wrong row$"):
            await calls.pop("w13")
        await assert_vectors(list(calls.values()), list(calls))

    server.refuse = refuse
    run(server, body)


def test_cancelled_calls_leave_without_a_trace(server: SmallServer) -> None:
    async def body(callers: Callers) -> None:
        await callers.hold()
        calls = await callers.waiting(*map(callers.call, WORDS[10:20]))
        calls.pop(0).cancel()  # the one whose turn is next
        calls.pop(4).cancel()
        await callers.release()
        await assert_vectors(calls, [*WORDS[11:15], *WORDS[16:20]])
        assert sorted(first_tokens(server.requests[-1]).tolist()) == [11, 12, 13, 14, 16, 17, 18, 19]
        # In flight: one of two calls leaves the other, and the last one cancels the request.
        server.silent.set()
        first, second = callers.call("w30"), callers.call("w31")
        await until_async(lambda: server.received == PLACES + 2)
        first.cancel()
        await asyncio.sleep(0.1)
        assert server.under_way == 1
        second.cancel()
        await until_async(lambda: server.under_way == 0)
        server.silent.clear()
        await assert_vectors([callers.call("w32")], ["w32"])
        assert callers.encoder._session.joiner._in_flight == 0

    run(server, body)


def test_a_call_that_waits_ends_at_its_deadline(server: SmallServer) -> None:
    async def body(callers: Callers) -> None:
        await callers.hold()
        short, other = await callers.waiting(callers.call("w10", timeout_s=0.3), callers.call("w11"))
        with pytest.raises(DeadlineExceeded, match=r"its timeout_s of 0.3 s"):
            await short
        await callers.release()
        await assert_vectors([other], ["w11"])

    run(server, body)


def test_closing_ends_calls_that_wait_and_calls_under_way(server: SmallServer) -> None:
    async def body(callers: Callers) -> None:
        await callers.hold()
        calls = await callers.waiting(*map(callers.call, WORDS[10:20]))
        await callers.encoder.close()
        for call in [*callers.held, *calls]:
            with pytest.raises(SentritonError, match=r"^this encoder is closed; make a new one$"):
                await call

    run(server, body)


def test_a_busy_event_loop_is_no_silence_of_the_server(server: SmallServer) -> None:
    async def body(callers: Callers) -> None:
        call = callers.call("w10")
        await until_async(lambda: server.received == 1)
        time.sleep(2.5)  # a caller that computes in the event loop
        await assert_vectors([call], ["w10"])

    server.delay_s = 0.2
    run(server, body, stall_timeout_s=1.5)


def test_no_call_is_forgotten_under_a_random_load(server: SmallServer) -> None:
    """256 tasks with random sentences, deadlines, cancellations and failures. Every vector is compared."""
    drawn = random.Random(5)

    def refuse(number: int, context: Any) -> None:
        kind = drawn.random()
        if kind < 0.03:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the query lane is full")
        if 13 in first_tokens(server.requests[number]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a wrong row")

    async def body(callers: Callers) -> None:
        end = time.monotonic() + 4
        answers = [0] * 256

        async def call(caller: int) -> None:
            own = random.Random(caller)
            while time.monotonic() < end:
                words = own.choices(WORDS[:2000], k=own.choice([1, 1, 1, 1, 2, 8, 20]))
                timeout_s = own.choice([None, None, 5.0, 0.02])
                task = callers.call(words, timeout_s=timeout_s)
                if own.random() < 0.1:
                    await asyncio.sleep(own.random() * 0.02)
                    task.cancel()
                try:
                    found = await task
                except asyncio.CancelledError:
                    continue
                except SentritonError as error:
                    if not ("w13" in words if isinstance(error, InvalidInput) else timeout_s is not None):
                        raise
                else:
                    np.testing.assert_array_equal(found, vectors(words))
                    answers[caller] += 1

        await asyncio.gather(*map(call, range(256)))
        joiner = callers.encoder._session.joiner
        assert (joiner._in_flight, len(joiner._waiting), len(joiner._pausing), len(joiner._members)) == (0, 0, 0, 0)
        assert min(answers) > 0

    server.refuse = refuse
    server.delay_s = lambda: drawn.choice([0.0, 0.001, 0.01, 0.05])
    run(server, body)
