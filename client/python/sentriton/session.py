"""The state that all calls of an encoder share: settings, servers, the model, pacing."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic

from sentriton.arguments import positive
from sentriton.deadline import Deadline
from sentriton.endpoints import AnyConnection, Endpoints
from sentriton.errors import CLOSED, SentritonError
from sentriton.joining import Joiner
from sentriton.pacing import RetryBudget, Window
from sentriton.served_model import ServedModel
from sentriton.settings import ClientSettings

_GRACE_S = 0.1  # for requests in progress at `close`


class Session(Generic[AnyConnection]):
    """The state of one encoder. Opening channels sets `endpoints` and `joiner`. Reading the manifest sets `served`."""

    joiner: Joiner[AnyConnection]

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.endpoints: Endpoints[AnyConnection] | None = None
        self.served: ServedModel | None = None
        self.budget = RetryBudget()
        self.window = Window(most=settings.max_in_flight)
        self.closed = threading.Event()
        self._process_id = os.getpid()

    @property
    def model(self) -> ServedModel:
        if self.served is None:
            raise SentritonError("this encoder is not connected yet; await its connect(), or use it in `async with`")
        return self.served

    def open(self, endpoints: Endpoints[AnyConnection]) -> None:
        self.endpoints = endpoints
        self.joiner = Joiner(endpoints, self.budget, self.settings.max_in_flight)

    def close(self) -> Iterator[float]:
        """Yields pauses while requests may end by themselves, since a cancellation at an answer can crash Triton."""
        connections: list[Any] = [endpoint.connection for endpoint in self.endpoints.all] if self.endpoints else []
        for connection in connections:
            connection.closing = True
        self.closed.set()
        if connections:
            self.joiner.wake_all()
        end = time.monotonic() + _GRACE_S
        while any(connection.pending for connection in connections) and time.monotonic() < end:
            yield 0.002

    @property
    def open_endpoints(self) -> Endpoints[AnyConnection]:
        assert self.endpoints is not None
        return self.endpoints

    def deadline(self, timeout_s: float | None = None) -> Deadline:
        """The deadline of a call that starts now. `timeout_s` None: the encoder's."""
        timeout_s = self.settings.timeout_s if timeout_s is None else positive("timeout_s", timeout_s)
        return Deadline(timeout_s, self.settings.stall_timeout_s, time.monotonic())

    def check_usable(self) -> None:
        if os.getpid() != self._process_id:
            raise SentritonError(
                "this encoder was made in another process and does not survive a fork; make a new one in each process"
            )
        self.check_open()

    def check_interpreter(self) -> None:
        """Raises if the interpreter is shutting down, because gRPC would wait forever for a new thread."""
        if sys.is_finalizing():
            raise SentritonError(
                "the interpreter is shutting down, and a call needs a new thread; make the call before the program ends"
            )

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Wraps calls. After `close`, any of them ends with the error of a closed encoder."""
        try:
            yield
        except Exception as error:
            self.check_open(error)
            raise
        self.check_open()

    def check_open(self, cause: BaseException | None = None) -> None:
        """Raises if the encoder was closed. `cause` is the error of a call that this ended."""
        if self.closed.is_set():
            raise SentritonError(CLOSED) from cause
