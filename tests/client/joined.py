"""Callers of one encoder for the tests of joined requests."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from sentriton import (
    SentenceEncoder,
)
from tests.small_server import WORDS, SmallServer, first_tokens, vectors
from tests.waiting import SOON_S, until

PLACES = 4  # requests in flight before calls wait
BAD = "w13"


class Callers:
    """Calls in threads. `hold` keeps all places taken until `release`, so that calls meanwhile wait."""

    def __init__(self, server: SmallServer, **settings: Any) -> None:
        self.server = server
        self.encoder = SentenceEncoder(server.url, **settings)
        self.pool = ThreadPoolExecutor(80)
        self.held: list[Future[Any]] = []

    def call(self, *arguments: Any, **options: Any) -> Future[Any]:
        return self.pool.submit(self.encoder.encode, *arguments, **options)

    def hold(self) -> None:
        """One call after the other, since calls at the same moment may share a request."""
        self.server.silent.set()
        before, self.held = self.server.received, []
        for place in range(PLACES):
            self.held.append(self.call(WORDS[place]))
            until(lambda: self.server.received == before + len(self.held))

    def waiting(self, *calls: Future[Any]) -> list[Future[Any]]:
        """The calls, once all wait."""
        until(lambda: len(self.encoder._session.joiner._waiting) == len(calls))
        return list(calls)

    def release(self) -> None:
        self.server.silent.clear()
        for place, call in enumerate(self.held):
            np.testing.assert_array_equal(call.result(SOON_S), vectors([WORDS[place]])[0])


def error_of(call: Future[Any]) -> BaseException:
    error = call.exception(SOON_S)
    assert error is not None
    return error


def assert_vectors(calls: list[Future[Any]], words: list[str]) -> None:
    for call, word in zip(calls, words, strict=True):
        np.testing.assert_array_equal(call.result(SOON_S), vectors([word])[0])


def rows_of(request: Any) -> list[int]:
    return sorted(first_tokens(request).tolist())


def refuse_word(server: SmallServer, status: grpc.StatusCode, message: str, word: str = BAD) -> None:
    """The server refuses every request with this word."""

    def refuse(number: int, context: Any) -> None:
        if int(word[1:]) in first_tokens(server.requests[number]):
            context.abort(status, message)

    server.refuse = refuse
