"""Measures in a separate process, since a module runs a quarter slower in a process that has exported models."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

_run: Callable[[], Any]


class OwnProcess:
    """A process that repeats the call of `make(*arguments)` in turns.

    `variables` are added to its environment, since libraries for threads and memory read theirs at the start.
    """

    def __init__(
        self, make: Callable[..., Callable[[], Any]], *arguments: Any, variables: Mapping[str, str] | None = None
    ) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        before = dict(os.environ)
        os.environ.update({**(variables or {}), **before})
        try:
            self._pool.submit(_begin, make, arguments).result()
        finally:
            for name in variables or {}:
                if name not in before:
                    del os.environ[name]

    def turn(self, least_s: float) -> float:
        """Seconds per call, over at least `least_s`."""
        return self._pool.submit(_turn, least_s).result()

    def close(self) -> None:
        self._pool.shutdown()


def seconds_per_call(call: Callable[[], Any], least_s: float) -> float:
    """Seconds per call, over at least `least_s` and at least one call."""
    started, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < least_s or not calls:
        call()
        calls += 1
    return elapsed / calls


def _begin(make: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> None:
    global _run
    torch._C._get_graph_executor_optimize(False)  # as in the repository's configuration
    _run = make(*arguments)


def _turn(least_s: float) -> float:
    return seconds_per_call(_run, least_s)
