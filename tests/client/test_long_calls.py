"""The end of calls: not while requests are answered, soon after the last answer, and at the deadline."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import grpc
import numpy as np
import pytest

from sentriton import (
    AsyncSentenceEncoder,
    ClientSettings,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    SentenceEncoder,
    SentritonError,
    ServerUnavailable,
)
from sentriton.connection import AsyncConnection
from tests.small_server import WORDS, SmallServer, silent_from, vectors
from tests.waiting import SOON_S

SENTENCES = WORDS[:400]


def test_a_call_has_no_end_of_its_own_and_a_minute_without_an_answer_ends_it() -> None:
    assert ClientSettings().timeout_s is None
    assert ClientSettings().stall_timeout_s == 60


def test_a_call_goes_on_as_long_as_answers_come(connect: Callable[..., Any], server: SmallServer) -> None:
    server.delay_s = 0.2
    with closing(connect(server.url, stall_timeout_s=2, max_in_flight=4)) as encoder:
        started = time.monotonic()
        np.testing.assert_array_equal(encoder.encode(SENTENCES, batch_size=8), vectors(SENTENCES))
        assert time.monotonic() - started > 2
        np.testing.assert_array_equal(
            np.concatenate(list(encoder.encode_stream(WORDS[:200], chunk_size=100, batch_size=8))), vectors(WORDS[:200])
        )
    # Each request has a timeout, which does not exceed the call's.
    assert 0 < min(server.timeouts_us) <= max(server.timeouts_us) <= 2_000_000


def test_a_call_without_an_answer_ends_and_says_how_far_it_got(
    connect: Callable[..., Any], server: SmallServer
) -> None:
    server.delay_s = 0.02
    server.refuse = silent_from(20, server)
    with closing(connect(server.url, stall_timeout_s=1.5)) as encoder:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded) as raised:
            encoder.encode(WORDS[:4000], batch_size=4)
        took = time.monotonic() - started
        server.refuse = silent_from(-1, server)
        server.silent.clear()
        np.testing.assert_array_equal(encoder.encode(SENTENCES), vectors(SENTENCES))
    message = str(raised.value)
    assert message.startswith(f"{server.url} answered no request for 1.5 s; check the server")
    assert "stall_timeout_s" in message
    assert message.endswith(" of 4,000 sentences were embedded)")
    assert "(0 of" not in message
    assert 1.5 <= took < SOON_S


def test_rejections_are_no_progress(
    connect: Callable[..., Any], server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Attempts after 0, 0.1, 0.3, 0.7 and 1.5 s; the next pause of 1.6 s is too long, however slow the attempts are.
    monkeypatch.setattr("random.uniform", lambda low, high: high)

    def refuse(number: int, context: Any) -> None:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the query lane is full")

    server.refuse = refuse
    with closing(connect(server.url, stall_timeout_s=3.1)) as encoder:
        started = time.monotonic()
        with pytest.raises(Overloaded, match=r"lane is full \(0 of 3 sentences were embedded\)$"):
            encoder.encode(WORDS[:3])
        assert time.monotonic() - started < SOON_S
    assert server.received > 1


def test_a_request_that_came_too_late_is_sent_again_while_others_are_answered(
    connect: Callable[..., Any], server: SmallServer
) -> None:
    def hang(number: int, context: Any) -> None:
        if number == 0:
            while context.is_active():
                time.sleep(0.01)

    server.refuse = hang
    server.delay_s = 0.15
    with closing(connect(server.url, stall_timeout_s=1.5, max_in_flight=2)) as encoder:
        np.testing.assert_array_equal(encoder.encode(WORDS[:48], batch_size=4), vectors(WORDS[:48]))
    assert 12 < server.received < 2 * 12


def test_the_call_s_own_time_ends_it_whatever_is_answered(connect: Callable[..., Any], server: SmallServer) -> None:
    server.delay_s = 0.02
    with closing(connect(server.url)) as encoder, pytest.raises(DeadlineExceeded) as raised:
        encoder.encode(WORDS, batch_size=2, timeout_s=1)
    assert "took longer than its timeout_s of 1 s; set a longer one, or none (" in str(raised.value)
    assert "(0 of" not in str(raised.value)
    assert max(server.timeouts_us) <= 1_000_000


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"stall_timeout_s": 0.4}, "answered no request for 0.4 s"), ({"timeout_s": 0.4}, "its timeout_s of 0.4 s")],
    ids=["stall", "timeout"],
)
def test_connecting_ends_as_a_call_does(
    settings: dict[str, Any], says: str, connect: Callable[..., Any], server: SmallServer
) -> None:
    server.silent.set()
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=says):
        connect(server.url, **settings)
    assert time.monotonic() - started < SOON_S


@pytest.mark.parametrize("servers", [1, 2])
def test_a_server_that_says_at_once_that_it_is_late_is_asked_once(servers: int, connect: Callable[..., Any]) -> None:
    asked: list[SmallServer] = []

    def give_up(context: Any) -> None:
        asked.append(context)
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "a proxy gave up")

    with SmallServer() as one, SmallServer() as other:
        one.refuse_asset = other.refuse_asset = give_up
        url = ",".join(server.url for server in (one, other)[:servers])
        with pytest.raises(DeadlineExceeded, match="did not answer in time: a proxy gave up"):
            connect(url, stall_timeout_s=5)
    assert len(asked) == servers


def test_sentences_that_are_slow_to_read_do_not_blame_the_server(server: SmallServer) -> None:
    def slow() -> Iterator[str]:
        for word in WORDS[:3]:
            time.sleep(0.4)
            yield word

    async def call() -> Any:
        encoder = AsyncSentenceEncoder(server.url, stall_timeout_s=1)
        try:
            return await encoder.encode(slow())  # which connects after that
        finally:
            await encoder.close()

    np.testing.assert_array_equal(asyncio.run(call()), vectors(WORDS[:3]))
    with SentenceEncoder(server.url, stall_timeout_s=1) as encoder:
        np.testing.assert_array_equal(encoder.encode(slow()), vectors(WORDS[:3]))


def test_a_request_that_fails_when_its_call_is_over_leaves_no_error_behind(
    server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = AsyncConnection.infer
    left: list[Any] = []

    async def fail_when_cancelled(connection: AsyncConnection, request: Any, timeout_s: float | None) -> Any:
        # gRPC does this if the server's error came just before, which no test server can force.
        try:
            return await infer(connection, request, timeout_s)
        except asyncio.CancelledError as error:
            raise ServerUnavailable("away") from error

    def refuse(number: int, context: Any) -> None:
        if number == 0:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a wrong request")
        server.silent.set()

    async def call() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: left.append(context))
        async with AsyncSentenceEncoder(server.url) as encoder:
            monkeypatch.setattr(AsyncConnection, "infer", fail_when_cancelled)
            with pytest.raises(InvalidInput, match="a wrong request"):
                await encoder.encode(WORDS[:4], batch_size=1)
            await asyncio.sleep(0.2)
            gc.collect()

    server.refuse = refuse
    asyncio.run(call())
    assert left == []


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_an_async_call_s_time_bounds_its_connecting(method: str, server: SmallServer) -> None:
    server.silent.set()

    async def call() -> None:
        encoder = AsyncSentenceEncoder(server.url)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"timeout_s of 0.3 s"):
            await getattr(encoder, method)("w1", timeout_s=0.3)
        # Also while another call is connecting.
        first = asyncio.create_task(encoder.encode("w1"))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded, match=r"timeout_s of 0.3 s"):
            await getattr(encoder, method)("w2", timeout_s=0.3)
        assert time.monotonic() - started < SOON_S
        server.silent.clear()
        np.testing.assert_array_equal(await first, vectors(["w1"])[0])
        await encoder.close()

    asyncio.run(call())


def test_an_event_loop_that_was_busy_does_not_blame_the_server(server: SmallServer) -> None:
    server.delay_s = 0.05

    async def call() -> None:
        async with AsyncSentenceEncoder(server.url, stall_timeout_s=2.5) as encoder:
            task = asyncio.create_task(encoder.encode(SENTENCES, batch_size=4))
            await asyncio.sleep(0.2)
            assert not task.done()
            time.sleep(3)  # a caller that computes in the event loop
            np.testing.assert_array_equal(await task, vectors(SENTENCES))

    asyncio.run(call())


def test_another_event_loop_is_refused(server: SmallServer) -> None:
    encoder = AsyncSentenceEncoder(server.url)
    asyncio.run(encoder.connect())
    for method in (encoder.connect, lambda: encoder.encode("w1"), lambda: encoder.encode_query("w1")):
        with pytest.raises(SentritonError, match=r"belongs to another event loop.*in each event loop"):
            asyncio.run(method())
    asyncio.run(encoder.close())


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", True])
@pytest.mark.parametrize("name", ["timeout_s", "stall_timeout_s"])
def test_times_that_cannot_be_are_refused(name: str, value: Any, server: SmallServer) -> None:
    with pytest.raises(InvalidInput, match=f"^{name} is .*; allowed are finite numbers above 0"):
        SentenceEncoder(server.url, **{name: value})
    if name == "timeout_s":
        with SentenceEncoder(server.url) as encoder, pytest.raises(InvalidInput, match=r"^timeout_s is"):
            encoder.encode("w1", timeout_s=value)


def test_times_without_end(connect: Callable[..., Any], server: SmallServer) -> None:
    with closing(connect(server.url, timeout_s=1e300, stall_timeout_s=1e300)) as encoder:
        np.testing.assert_array_equal(encoder.encode(SENTENCES), vectors(SENTENCES))


@pytest.mark.parametrize("variable", ["SENTRITON_TIMEOUT_S", "SENTRITON_STALL_TIMEOUT_S"])
def test_times_come_from_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "2.5")
    assert getattr(ClientSettings.resolve(), variable.removeprefix("SENTRITON_").lower()) == 2.5
    monkeypatch.setenv(variable, "")
    assert ClientSettings.resolve() == ClientSettings()
    for value in ("soon", "nan", "0"):
        monkeypatch.setenv(variable, value)
        with pytest.raises(InvalidInput, match=rf"\${variable} is '{value}'; allowed are finite numbers above 0"):
            ClientSettings.resolve()
