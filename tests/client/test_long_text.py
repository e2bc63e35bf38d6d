"""A thread tokenizes long text of an event loop, so that no other call waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from sentriton import AsyncSentenceEncoder
from sentriton.joining import LONG
from tests.client.test_joined_tasks import Callers
from tests.client.test_joining import Calls
from tests.small_server import WORDS, SmallServer

LONG_TEXT = "w7 " * (LONG // 2)


def note_threads(encoder: AsyncSentenceEncoder) -> list[bool]:
    """Record for every tokenization whether it is in this thread, the event loop's."""
    tokenizer: Any = encoder._session.model.tokenizer
    tokenize, noted = tokenizer.tokenize, list[bool]()

    def noting(texts: Sequence[str]) -> list[list[int]]:
        noted.append(threading.current_thread() is threading.main_thread())
        return tokenize(texts)  # type: ignore[no-any-return]

    tokenizer.tokenize = noting
    return noted


@pytest.mark.parametrize(
    ("texts", "in_event_loop"), [([LONG_TEXT], False), (["w7 " * 400] * 64, False), (["w7"], True), (WORDS[:80], True)]
)
def test_characters_decide(server: SmallServer, texts: list[str], in_event_loop: bool) -> None:
    async def body() -> None:
        async with AsyncSentenceEncoder(server.url) as encoder:
            noted = note_threads(encoder)
            await encoder.encode(texts)
            assert set(noted) == {in_event_loop}

    asyncio.run(body())


def test_a_long_text_does_not_join(server: SmallServer) -> None:
    async def body() -> None:
        async with AsyncSentenceEncoder(server.url) as encoder:
            callers = Callers(server, encoder)
            await callers.hold()
            noted = note_threads(encoder)
            call = callers.call(LONG_TEXT)
            (short,) = await callers.waiting(callers.call("w8"))
            await callers.release()
            assert (await call)[0] == 7.0
            assert (await short)[0] == 8.0
            assert sorted(noted) == [False, True]

    try:
        asyncio.run(body())
    finally:
        server.silent.clear()


def test_calls_that_are_long_together_do_not_join() -> None:
    calls = Calls()
    words = ["x" * (LONG // 3 * 2), "y" * (LONG // 3 * 2), "w8"]  # a token each
    for word in words:
        calls.enter(word)
    requests = [[member.texts for member in calls.send(1.0)[0].members] for _ in range(2)]
    assert requests == [[[words[0]], ["w8"]], [[words[1]]]]
