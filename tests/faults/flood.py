"""Raw requests at a fixed rate, regardless of their outcomes, and the memory of the server's processes meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psutil

from sentriton import SentenceEncoder, protocol
from sentriton.connection import Connection
from sentriton.errors import Overloaded, SentritonError, translate
from sentriton.tokenization import pack_rows
from tests.faults.load import SENTENCES

ROWS = 64


@dataclass
class Outcomes:
    """The outcomes of requests of 64 rows: seconds of each answer and of each refusal, and all other errors."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    errors: list[SentritonError] = field(default_factory=list)


class Flood:
    """Sends bulk requests with this deadline while the context lasts: `rate` a second, or as many as keep `in_flight`
    of them under way.
    """

    def __init__(self, url: str, *, rate: float | None = None, in_flight: int = 0, deadline_s: float = 30) -> None:
        self.outcomes = Outcomes()
        self._url, self._rate, self._deadline_s = url, rate, deadline_s
        self._under_way = threading.Semaphore(in_flight)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._under_way.release()
        self._thread.join()

    def _send(self) -> None:
        connection = Connection(self._url)
        parameters = protocol.parameters(priority="bulk", timeout_s=self._deadline_s)
        with SentenceEncoder(self._url) as encoder:
            request = protocol.tokens_request(pack_rows(encoder.token_ids(SENTENCES)), parameters)
        calls, due = [], time.monotonic()
        while not self._stop.is_set():
            if self._rate is None:
                self._under_way.acquire()
            else:
                due += 1 / self._rate
                self._stop.wait(max(0.0, due - time.monotonic()))
            begun = time.monotonic()
            call = connection.start_infer(request, self._deadline_s)
            call.add_done_callback(lambda call, begun=begun: self._ended(call, begun))
            calls.append(call)
        for call in calls:
            call.exception()  # waits
        connection.close()

    def _ended(self, call: Any, begun: float) -> None:
        took = time.monotonic() - begun
        with self._lock:
            if (failure := call.exception()) is None:
                self.outcomes.answered.append(took)
            elif isinstance(error := translate(failure, self._url), Overloaded):
                self.outcomes.refused.append(took)
            else:
                self.outcomes.errors.append(error)
        self._under_way.release()


def resident_bytes(processes: Iterable[psutil.Process]) -> int:
    """The memory that processes hold, shared pages counted once."""
    return sum(process.memory_full_info().pss for process in processes)
