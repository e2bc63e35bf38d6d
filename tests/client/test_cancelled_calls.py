"""A task that is cancelled at the moment of an answer ends as cancelled. `wait_for` of Python 3.11 would lose this."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sentriton import AsyncSentenceEncoder, aio, dispatch
from tests.small_server import WORDS, SmallServer, vectors


@pytest.fixture(scope="module")
def server() -> Iterator[SmallServer]:
    with SmallServer() as server:
        yield server


def test_a_call_may_be_cancelled_at_an_answer(server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with AsyncSentenceEncoder(server.url) as encoder:
            call = asyncio.create_task(encoder.encode(WORDS[:20], batch_size=10))
            send = dispatch.send_async

            def send_and_cancel(sending: Any, request: Any, time_s: float, came: Any) -> None:
                def came_and_cancelled(*outcome: Any) -> None:
                    came(*outcome)
                    call.cancel()

                send(sending, request, time_s, came_and_cancelled)

            with monkeypatch.context() as patch:
                patch.setattr(dispatch, "send_async", send_and_cancel)
                with pytest.raises(asyncio.CancelledError):
                    await call
            np.testing.assert_array_equal(await encoder.encode(WORDS[:20], batch_size=10), vectors(WORDS[:20]))

    asyncio.run(body())


def test_a_cancelled_call_leaves_no_timer(server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep the call's answers alive."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []
        call_later = loop.call_later

        async with AsyncSentenceEncoder(server.url) as encoder:
            call = asyncio.create_task(encoder.encode(WORDS[:20], batch_size=10))

            def start_and_cancel(delay: float, callback: Any, *arguments: Any) -> asyncio.TimerHandle:
                timer = call_later(delay, callback, *arguments)
                if isinstance(getattr(callback, "__self__", None), asyncio.Queue):
                    timers.append(timer)
                    call.cancel()
                return timer

            monkeypatch.setattr(loop, "call_later", start_and_cancel)
            with pytest.raises(asyncio.CancelledError):
                await call
            assert [timer.cancelled() for timer in timers] == [True]

    asyncio.run(body())


def test_connecting_may_be_cancelled_at_its_end(server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        encoder = AsyncSentenceEncoder(server.url)
        call = asyncio.create_task(encoder.encode("w1"))
        ask = aio.ask_async

        async def ask_and_cancel(questions: Any) -> Any:
            answer = await ask(questions)
            call.cancel()
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(aio, "ask_async", ask_and_cancel)
            with pytest.raises(asyncio.CancelledError):
                await call
        assert asyncio.all_tasks() == {asyncio.current_task()}
        np.testing.assert_array_equal(await encoder.encode("w1"), vectors(["w1"])[0])
        await encoder.close()

    asyncio.run(body())
