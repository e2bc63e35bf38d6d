"""Callers that embed known sentences all the time and compare every vector."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentriton import AsyncSentenceEncoder, SentenceEncoder, SentritonError, protocol
from sentriton.connection import Connection

SENTENCES = [f"{number}번째 문장은 " + "조금 더 긴 " * (number % 9) + "문장입니다." for number in range(64)]
_RAW_DEADLINE_S = 30.0


@dataclass
class Figures:
    """The outcomes of calls. A call is right when all its vectors are.

    `errors` are those of the encoders, which retry; `refusals` are those of a caller of `embed_text` without retries.
    """

    right: int = 0
    wrong: int = 0
    errors: list[SentritonError] = field(default_factory=list)
    refusals: list[SentritonError] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        return max(self.seconds, default=0.0)

    @property
    def p99_s(self) -> float:
        return float(np.quantile(self.seconds, 0.99))


class Load:
    """Callers each with a part of the sentences in every call: some through `SentenceEncoder`, one through
    `AsyncSentenceEncoder`, one that sends text to `embed_text`. A context manager; the figures are complete at its end.

    `expected` holds the right vectors of all sentences, one array for each model that may answer. Callers wait
    `pause_s` before each call.
    """

    def __init__(
        self, url: str, *expected: NDArray[np.float32], callers: int = 2, pause_s: float = 0, **settings: Any
    ) -> None:
        self.figures = Figures()
        self.last_begun_right = 0.0  # when the latest call that came out right was begun
        self._url, self._expected, self._settings = url, expected, {"timeout_s": 90, **settings}
        self._pause_s = pause_s
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._unexpected: list[BaseException] = []
        targets = [*[self._call] * callers, self._call_text, lambda number: asyncio.run(self._call_async(number))]
        self._threads = [threading.Thread(target=self._run, args=(each, n)) for n, each in enumerate(targets)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._unexpected, self._unexpected

    def recovery_s(self, since: float, timeout_s: float = 60) -> float:
        """Seconds from `since` until a call that was begun after it comes out right."""
        while self.last_begun_right <= since:
            assert time.monotonic() - since < timeout_s, self.figures
            time.sleep(0.02)
        return time.monotonic() - since

    def _run(self, target: Any, number: int) -> None:
        try:
            target(number)
        except BaseException as error:
            self._unexpected.append(error)

    def _part(self, turn: int) -> slice:
        start = turn * 7 % 48
        return slice(start, start + 1 + turn * 5 % 16)

    def _call(self, number: int) -> None:
        with SentenceEncoder(self._url, **self._settings) as encoder:
            turn = number * 1000
            while not self._stop.wait(self._pause_s):
                turn += 1
                part, begun = self._part(turn), time.monotonic()
                try:
                    self._count(encoder.encode(SENTENCES[part]), part, begun)
                except SentritonError as error:
                    self._count_error(self.figures.errors, error, begun)

    async def _call_async(self, number: int) -> None:
        async with AsyncSentenceEncoder(self._url, **self._settings) as encoder:
            turn = number * 1000
            while not self._stop.is_set():
                await asyncio.sleep(self._pause_s)
                turn += 1
                part, begun = self._part(turn), time.monotonic()
                try:
                    self._count(await encoder.encode(SENTENCES[part]), part, begun)
                except SentritonError as error:
                    self._count_error(self.figures.errors, error, begun)

    def _call_text(self, number: int) -> None:
        connection = Connection(self._url)
        turn = number * 1000
        while not self._stop.wait(self._pause_s):
            turn += 1
            part, begun = self._part(turn), time.monotonic()
            try:
                response = connection.infer(protocol.text_request(SENTENCES[part]), _RAW_DEADLINE_S)
                self._count(protocol.read_sentence_embedding(response), part, begun)
            except SentritonError as error:
                self._count_error(self.figures.refusals, error, begun)
                self._stop.wait(0.2)
        connection.close()

    def _count(self, embeddings: NDArray[np.float32], part: slice, begun: float) -> None:
        with self._lock:
            self.figures.seconds.append(time.monotonic() - begun)
            if any(
                embeddings.shape == model[part].shape and np.allclose(embeddings, model[part], atol=1e-5)
                for model in self._expected
            ):
                self.figures.right += 1
                self.last_begun_right = max(self.last_begun_right, begun)
            else:
                self.figures.wrong += 1

    def _count_error(self, errors: list[SentritonError], error: SentritonError, begun: float) -> None:
        with self._lock:
            self.figures.seconds.append(time.monotonic() - begun)
            errors.append(error)
