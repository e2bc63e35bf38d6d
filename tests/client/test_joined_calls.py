"""Waiting small calls of one encoder share a request, and each has the result of a separate one."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from sentriton import (
    InvalidInput,
    SentenceEncoder,
    SentritonError,
    ServerError,
)
from tests.client.joined import BAD, PLACES, Callers, assert_vectors, rows_of
from tests.small_server import WORDS, SmallServer, first_tokens, vectors
from tests.waiting import SOON_S, until


def test_an_idle_encoder_sends_at_once_and_calls_that_wait_leave_together(callers: Callers) -> None:
    callers.hold()
    assert callers.server.under_way == PLACES
    words = WORDS[10:30]
    calls = callers.waiting(*map(callers.call, words))
    callers.release()
    assert_vectors(calls, words)
    assert callers.server.received == PLACES + 1
    assert rows_of(callers.server.requests[-1]) == list(range(10, 30))


def test_calls_of_several_sentences_keep_their_order(callers: Callers) -> None:
    callers.hold()
    wanted = [WORDS[place : place + 1 + place % 8][::-1] for place in range(20, 36)]
    calls = callers.waiting(*map(callers.call, wanted))
    callers.release()
    for call, words in zip(calls, wanted, strict=True):
        np.testing.assert_array_equal(call.result(SOON_S), vectors(words))
    # 72 rows need two requests, since a request has at most 64.
    assert callers.server.received == PLACES + 2


def test_each_call_has_its_own_options_and_its_own_array(callers: Callers) -> None:
    callers.hold()
    plain, short = callers.waiting(
        callers.call("w10"), callers.call(["w11"], truncate_dim=2, normalize_embeddings=True)
    )
    callers.release()
    np.testing.assert_allclose(short.result(SOON_S), [[0.5**0.5] * 2])
    found = plain.result(SOON_S)
    assert found.flags.writeable
    assert found.base is None or found.base.nbytes == found.nbytes
    assert callers.server.received == PLACES + 1


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_of_their_own(include_prompt: bool, server: SmallServer) -> None:
    server.manifest["include_prompt"] = include_prompt
    callers = Callers(server)
    callers.hold()
    calls = callers.waiting(
        callers.call("w10", prompt="w7 "), callers.call("w11"), callers.call("w12", prompt="w8 w9 ")
    )
    callers.release()
    assert_vectors(calls, ["w7", "w11", "w8"])
    assert server.received == PLACES + 1
    ids, row, pooled = (
        np.frombuffer(raw, kind)
        for raw, kind in zip(server.requests[-1].raw_input_contents, ("<i4", "<i4", "?"), strict=True)
    )
    found = {tuple(ids[row == place]): tuple(pooled[row == place]) for place in range(3)}
    own = include_prompt
    assert found == {(7, 10): (own, True), (11,): (True,), (8, 9, 12): (own, own, True)}
    callers.encoder.close()


def test_what_may_not_share_a_request_does_not(callers: Callers) -> None:
    callers.hold()
    calls = [
        callers.call("w10"),
        callers.call("w11", batch_size=8),  # one limit a request
        callers.call("w12", timeout_s=3),  # times that are far apart
        callers.call("w13", timeout_s=4),
    ]
    callers.waiting(*calls)
    large = callers.call(WORDS[20:30])
    single = callers.call("w14", batch_size=1)
    until(lambda: callers.server.received == PLACES + 2)
    callers.release()
    assert_vectors([*calls, single], ["w10", "w11", "w12", "w13", "w14"])
    np.testing.assert_array_equal(large.result(SOON_S), vectors(WORDS[20:30]))
    joined = [rows_of(request) for request in callers.server.requests[PLACES:]]
    assert sorted(joined) == sorted([list(range(20, 30)), [14], [10], [11], [12, 13]])


def test_requests_stay_within_their_tokens(callers: Callers) -> None:
    callers.hold()
    long = [" ".join([word] * 1500) for word in WORDS[10:15]]
    calls = callers.waiting(*map(callers.call, long))
    several = callers.call([" ".join([word] * 800) for word in WORDS[20:28]])  # too many for one request
    callers.release()
    assert_vectors(calls, WORDS[10:15])
    np.testing.assert_array_equal(several.result(SOON_S), vectors(WORDS[20:28]))
    tokens = [request.inputs[0].shape[0] for request in callers.server.requests[PLACES:]]
    assert max(tokens) <= 4096
    assert len(tokens) == 3 + 2


@pytest.mark.parametrize("seconds", [6.0])
def test_no_call_is_forgotten_under_a_random_load(seconds: float, server: SmallServer) -> None:
    """64 threads with random sentences, deadlines, delays and failures. Every vector is compared."""
    drawn = random.Random(5)

    def refuse(number: int, context: Any) -> None:
        kind = drawn.random()
        if kind < 0.03:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the query lane is full")
        if kind < 0.04:
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        if 13 in first_tokens(server.requests[number]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a wrong row")

    server.refuse = refuse
    server.delay_s = lambda: drawn.choice([0.0, 0.001, 0.01, 0.05])
    end = time.monotonic() + seconds
    answers = [0] * 64

    def call(encoder: SentenceEncoder, caller: int) -> None:
        own = random.Random(caller)
        while time.monotonic() < end:
            words = own.choices(WORDS[:2000], k=own.choice([1, 1, 1, 1, 2, 8, 20]))
            timeout_s = own.choice([None, None, 5.0, 0.02])
            started = time.monotonic()
            try:
                found = encoder.encode(words, timeout_s=timeout_s)
            except SentritonError as error:
                expected = BAD in words if isinstance(error, InvalidInput) else timeout_s is not None
                if not expected and not isinstance(error, ServerError):
                    raise
            else:
                np.testing.assert_array_equal(found, vectors(words))
                answers[caller] += 1
            assert time.monotonic() - started < SOON_S
            if own.random() < 0.2:
                time.sleep(own.random() * 0.02)

    with SentenceEncoder(server.url) as encoder, ThreadPoolExecutor(64) as pool:
        for caller in [pool.submit(call, encoder, caller) for caller in range(64)]:
            caller.result(seconds + 2 * SOON_S)
        joiner = encoder._session.joiner
        assert (joiner._in_flight, len(joiner._waiting), len(joiner._pausing), len(joiner._members)) == (0, 0, 0, 0)
    assert min(answers) > 0
    assert server.at_once < 64
