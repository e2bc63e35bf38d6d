"""Connections of an encoder: opening, deadlines, forks, closing and cancellation in progress."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from sentriton import (
    AsyncSentenceEncoder,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    SentenceEncoder,
    SentritonError,
    ServerUnavailable,
)
from tests.faults.proxy import FaultyProxy
from tests.server.client.sentences import MANY, SENTENCES
from tests.server.conftest import RunningServer
from tests.waiting import until, until_async


def test_health_has_a_time_of_its_own(encoder: Any) -> None:
    with pytest.raises((DeadlineExceeded, Overloaded)):  # the server may be the first to say that the time is over
        encoder.health(timeout_s=1e-6)
    with pytest.raises(InvalidInput, match="timeout_s is 0; allowed are finite numbers above 0"):
        encoder.health(timeout_s=0)


def test_a_call_without_time_is_not_sent(server: RunningServer) -> None:
    # Triton 24.10 crashed after about ten requests that were cancelled at their arrival.
    for _ in range(40):
        with SentenceEncoder(server.url) as encoder:
            with pytest.raises(DeadlineExceeded, match=r"longer than its timeout_s of 1e-06 s"):
                encoder.health(timeout_s=1e-6)
            with pytest.raises(DeadlineExceeded, match=r"longer than its timeout_s of 0\.001 s"):
                encoder.encode("문장", timeout_s=0.001)


def test_a_deadline_too_short_is_its_own_error(encoder: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        encoder.encode(SENTENCES * 50, timeout_s=0.001)


def test_a_connection_may_take_its_time(connect: Callable[..., Any], server: RunningServer) -> None:
    with FaultyProxy(server.url) as proxy:
        stall = threading.Thread(target=proxy.stall, args=(1.0,))
        stall.start()
        with closing(connect(proxy.url, timeout_s=20)) as encoder:
            assert encoder.encode("문장").shape == (256,)
        stall.join()


def test_nobody_there_is_its_own_error(connect: Callable[..., Any]) -> None:
    with pytest.raises(ServerUnavailable, match=r"^no answer from 127\.0\.0\.1:9: .*is it running\?"):
        connect("127.0.0.1:9", timeout_s=5)


def test_a_closed_encoder_says_so(server: RunningServer) -> None:
    encoder = SentenceEncoder(server.url)
    encoder.close()
    for late in (lambda: encoder.encode("too late"), encoder.info, encoder.health):
        with pytest.raises(SentritonError, match="this encoder is closed"):
            late()


def test_an_async_encoder_connects_when_it_is_used_and_says_when_it_is_not(server: RunningServer) -> None:
    async def call() -> None:
        encoder = AsyncSentenceEncoder(server.url)
        with pytest.raises(SentritonError, match=r"not connected yet; await its connect\(\)"):
            encoder.token_ids(["문장"])
        assert (await encoder.encode("문장")).shape == (encoder.manifest.dimension,)
        await encoder.close()
        for closed in (encoder, AsyncSentenceEncoder(server.url)):
            await closed.close()
            for late in (partial(closed.encode, "too late"), closed.info, closed.health):
                with pytest.raises(SentritonError, match="this encoder is closed"):
                    await late()

    asyncio.run(call())


# In a separate process, since a hung child would be a second pytest.
FORK = """
import os, signal, sys
from sentriton import SentenceEncoder, SentritonError

with SentenceEncoder(sys.argv[1], timeout_s=10) as encoder:
    before = encoder.encode("the same")
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert (encoder.encode("the same") == before).all(), "the parent goes on"
        raise SystemExit(os.waitstatus_to_exitcode(status))
    signal.alarm(20)
    code = 1
    try:
        encoder.encode("the same")
    except SentritonError as error:
        assert "does not survive a fork" in str(error)
        with SentenceEncoder(sys.argv[1], timeout_s=10) as own:
            code = 0 if (own.encode("the same") == before).all() else 2
    finally:
        os._exit(code)
"""


def test_an_encoder_does_not_survive_a_fork_and_a_new_one_works_in_the_child(server: RunningServer) -> None:
    ended = subprocess.run([sys.executable, "-c", FORK, server.url], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("method", ["encode", "encode_stream"])
def test_closing_ends_a_call_that_is_under_way_and_says_so(method: str, server: RunningServer) -> None:
    encoder = SentenceEncoder(server.url)
    closer = threading.Thread(target=when_busy, args=(encoder, encoder.close))
    closer.start()
    with pytest.raises(SentritonError, match="this encoder is closed"):
        list(getattr(encoder, method)(MANY * 200))
    closer.join()


@pytest.mark.parametrize("method", ["encode", "encode_stream"])
def test_closing_ends_an_async_call_that_is_under_way_and_says_so(method: str, server: RunningServer) -> None:
    async def call() -> None:
        encoder = AsyncSentenceEncoder(server.url)
        embeddings = getattr(encoder, method)(MANY * 200)
        if method == "encode":
            await asyncio.gather(embeddings, when_busy_async(encoder, encoder.close))
        else:
            closer = asyncio.create_task(when_busy_async(encoder, encoder.close))
            async for _ in embeddings:
                pass
            await closer

    with pytest.raises(SentritonError, match="this encoder is closed"):
        asyncio.run(call())


def test_cancelling_a_task_cancels_its_requests(server: RunningServer) -> None:
    async def call() -> None:
        async with AsyncSentenceEncoder(server.url) as encoder:
            before = server.published("sentriton_rows_total", lane="query")
            task = asyncio.create_task(encoder.encode(MANY * 200))
            await when_busy_async(encoder, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
            while in_flight(encoder):
                await asyncio.sleep(0.01)
            # Another call succeeds, and the rest of the cancelled one is never computed.
            assert (await encoder.encode(MANY)).shape == (len(MANY), encoder.manifest.dimension)
            assert server.published("sentriton_rows_total", lane="query") - before < 100 * len(MANY)

    asyncio.run(call())


def in_flight(encoder: Any) -> int:
    endpoints = encoder._session.endpoints
    return sum(endpoint.in_flight for endpoint in endpoints.all) if endpoints else 0


def when_busy(encoder: SentenceEncoder, action: Callable[[], Any]) -> None:
    """Run an action once requests are in flight."""
    until(lambda: in_flight(encoder))
    action()


async def when_busy_async(encoder: AsyncSentenceEncoder, action: Callable[[], Any]) -> None:
    await until_async(lambda: in_flight(encoder))
    done = action()
    if inspect.isawaitable(done):
        await done
